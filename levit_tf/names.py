"""Names of the layers of a LeViT, shared by the code that builds it and the code that inspects it.

They are timm's module names with underscores instead of dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

SIDES = "sides_are_multiples_of_{}"  # pixels; in a graph for every size, other sides fail here
STEM = "stem"
PRE_LOGITS = "pre_logits"
CLASSIFIER = "classifier"
PREDICTIONS = "predictions"
# Outputs of a network with exits: see `levit_tf.dynamic.exits`.
EXIT_PREFIX = "exits_"
WHOLE = "head"


def exit_name(place: int | str) -> str:
    """Returns the name of an exit: that of its output, and the prefix of its layers' names.

    Args:
      place: the stage after which the exit is placed, 0 or "0", or the block: "0.1" is block 1 of
        stage 0.
    """
    return f"{EXIT_PREFIX}{place}".replace(".", "_")


def exit_place(name: str) -> tuple[int, int | None]:
    """Returns the stage and block after which an exit is placed; block None: after the stage."""
    stage, _, block = name.removeprefix(EXIT_PREFIX).partition("_")
    return int(stage), int(block) if block else None


def exit_features(name: str) -> str:
    """Returns the name of the layer whose feature map is the input of the exit of this name."""
    stage, block = exit_place(name)
    return stage_name(stage) if block is None else f"{stage_name(stage)}_blocks_{block}_mlp_add"


def exit_names(outputs: Iterable[str]) -> list[str]:
    """Returns the exits among the outputs of a network, in the order in which they are computed."""

    def order(name: str) -> tuple[int, float]:
        stage, block = exit_place(name)
        return stage, math.inf if block is None else block

    return sorted((name for name in outputs if name != WHOLE), key=order)


def stage_name(stage: int) -> str:
    """Returns the name of the layer whose output is the feature map of `stage` (0, 1 or 2)."""
    return f"stages_{stage}"
