"""Deployments as wholes: owned by this process, or named, detached and joined; and their status."""
