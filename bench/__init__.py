"""Benchmarks; nothing here ships with a service."""
