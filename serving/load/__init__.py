"""The parts of `serving.load_test`: sending requests at a rate, and reporting latencies."""
