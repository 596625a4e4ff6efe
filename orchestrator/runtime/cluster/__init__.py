"""Ray itself: start or join it, what its nodes have, and the plan that follows from that."""
