"""Read pages of text with three models on shared cards: detector, angle classifier, recognizer."""
