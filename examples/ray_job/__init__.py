"""A batch job handed to a Ray cluster from a laptop."""
