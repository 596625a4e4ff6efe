"""The way of requests from callers to cards and of answers back, whoever keeps the cards."""
