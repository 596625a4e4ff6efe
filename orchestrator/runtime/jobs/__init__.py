"""Batch jobs: the driver that keeps the books, and workers that read, compute and write."""
