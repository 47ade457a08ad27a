"""Names of layers in a LeViT: the one definition for those who build it and those who look in it.

They are timm's module names with underscores for dots.
"""

from __future__ import annotations

SIDES = "sides_are_multiples"
STEM = "stem"
PRE_LOGITS = "pre_logits"
CLASSIFIER = "classifier"
PREDICTIONS = "predictions"
# Outputs of a network with exits: see `levit_tf.dynamic.exits`.
EXIT_PREFIX = "exits_"
WHOLE = "head"


def exit_name(stage: int) -> str:
    """Name of the exit behind `stage`, of its output, and the beginning of its layers' names."""
    return f"{EXIT_PREFIX}{stage}"


def stage_name(stage: int) -> str:
    """Name of the layer whose output is the feature map of `stage` (0, 1 or 2)."""
    return f"stages_{stage}"
