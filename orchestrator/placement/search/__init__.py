"""The search for a plan, and the bounds that say how good one can be."""
