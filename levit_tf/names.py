"""Names of layers in a LeViT: the one definition for those who build it and those who look in it.

They are timm's module names with underscores for dots.
"""

from __future__ import annotations

STEM = "stem"
PRE_LOGITS = "pre_logits"
CLASSIFIER = "classifier"
PREDICTIONS = "predictions"


def stage_name(stage: int) -> str:
    """Name of the layer whose output is the feature map of `stage` (0, 1 or 2)."""
    return f"stages_{stage}"
