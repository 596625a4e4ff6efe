"""Model files and what they say of themselves, read without the library; a node's cache of them."""
