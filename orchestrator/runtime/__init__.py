"""The only code that imports Ray: connect to it, find cards, run them, and carry requests."""
