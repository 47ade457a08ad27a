"""Names of layers in a LeViT: the one definition for those who build it and those who look in it.

They are timm's module names with underscores for dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

SIDES = "sides_are_multiples_of_{}"  # pixels; what a graph for every size fails in
STEM = "stem"
PRE_LOGITS = "pre_logits"
CLASSIFIER = "classifier"
PREDICTIONS = "predictions"
# Outputs of a network with exits: see `levit_tf.dynamic.exits`.
EXIT_PREFIX = "exits_"
WHOLE = "head"


def exit_name(place: int | str) -> str:
    """Name of an exit: of its output, and the beginning of its layers' names.

    Args:
      place: the stage that it is behind, 0 or "0", or the block: "0.1" is block 1 of stage 0.
    """
    return f"{EXIT_PREFIX}{place}".replace(".", "_")


def exit_place(name: str) -> tuple[int, int | None]:
    """Stage and block that an exit of this name is behind; no block: behind the whole stage."""
    stage, _, block = name.removeprefix(EXIT_PREFIX).partition("_")
    return int(stage), int(block) if block else None


def exit_features(name: str) -> str:
    """Name of the layer whose feature map an exit of this name answers from."""
    stage, block = exit_place(name)
    return stage_name(stage) if block is None else f"{stage_name(stage)}_blocks_{block}_mlp_add"


def exit_names(outputs: Iterable[str]) -> list[str]:
    """The exits among the outputs of a network, in the order in which a picture meets them."""

    def order(name: str) -> tuple[int, float]:
        stage, block = exit_place(name)
        return stage, math.inf if block is None else block

    return sorted((name for name in outputs if name != WHOLE), key=order)


def stage_name(stage: int) -> str:
    """Name of the layer whose output is the feature map of `stage` (0, 1 or 2)."""
    return f"stages_{stage}"
