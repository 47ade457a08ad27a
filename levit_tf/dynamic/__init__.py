"""A classifier in steps: the next step runs only if the one before was not confident enough.

    confidence    how sure a step is, and the temperature that makes it a probability
    calibration   chooses confidence thresholds with a statistical guarantee
    budget        chooses confidence thresholds that keep to a time budget
    exits         adds classification branches inside one LeViT
    steps         the networks of a classifier in steps

From levit_tf, this package imports only modules that import nothing else of it.
"""
