"""Deployments and scripts that really run; each is tested."""
