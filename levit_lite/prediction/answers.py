"""The JSON form of a picture's classification, shared by all commands that write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from levit_common.shipped_names import EXIT
from levit_lite.class_names import top_classes


def answer_of(
    scores: np.ndarray, class_names: Sequence[str], top: int, step: int | None = None
) -> dict[str, Any]:
    """Describes the classification of one picture.

    Args:
      scores: (classes,) probabilities.
      class_names: names of the classes.
      top: number of classes to name; at most as many as there are.
      step: the exit of a dynamic file that answered; None for other files.

    Returns:
      "top", a list of {"class", "index", "probability"}, best first; for a dynamic
      file also `shipped_names.EXIT`, the number of the exit that answered.
    """
    best = top_classes(scores[None], min(top, len(class_names)))[0]
    found: dict[str, Any] = {
        "top": [
            {
                "class": class_names[index],
                "index": int(index),
                "probability": round(float(scores[index]), 6),
            }
            for index in best
        ]
    }
    if step is not None:
        found[EXIT] = int(step)
    return found
