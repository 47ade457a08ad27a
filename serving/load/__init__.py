"""The parts of `serving.load_test`: requests at a rate, and the report of their times."""
