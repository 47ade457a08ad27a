"""Benchmarks of training, and of what it leads to."""
