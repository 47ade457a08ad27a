"""Benchmarks of `serving`: under load, over a folder of pictures, in a browser."""
