"""Hostile images and requests against the running service: ``python -m tests.fuzz --help``."""
