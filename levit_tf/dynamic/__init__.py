"""A classifier in steps: each answers, and the next runs only where that is not sure enough.

    calibration   from how sure a step must be for its answer to count, with what guarantee

Imports nothing of levit_tf but its leaves.
"""
