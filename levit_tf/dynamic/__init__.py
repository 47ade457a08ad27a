"""A classifier in steps: each answers, and the next runs only where that is not sure enough.

    calibration   how sure a step must be for its answer to count, with what guarantee
    budget        the same by a time that is to be kept
    exits         branches inside one LeViT
    steps         the networks of a classifier in steps

Imports nothing of levit_tf but its leaves.
"""
