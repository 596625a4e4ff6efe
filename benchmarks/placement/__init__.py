"""How good and how fast plans are, on problems made from seeds."""
