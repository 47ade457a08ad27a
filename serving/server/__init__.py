"""A stand-in for TensorFlow Serving, for laptops and tests: `python -m serving.server`."""
