"""The driver side: plan models onto cards, run them, and send them work."""
