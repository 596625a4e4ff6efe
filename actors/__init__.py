"""The card side: everything that runs in the process that owns one card."""
