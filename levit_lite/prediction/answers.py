"""What is written of a picture's answer, in words that JSON has: one form for all who write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from levit_common.shipped_names import EXIT
from levit_lite.class_names import top_classes


def answer_of(
    scores: np.ndarray, class_names: Sequence[str], top: int, step: int | None = None
) -> dict[str, Any]:
    """The likeliest classes of one picture.

    Args:
      scores: (classes,) probabilities.
      class_names: of these.
      top: how many classes to name, at most as many as there are.
      step: which one of a dynamic file has answered; None of a file without steps.

    Returns:
      "top", a list of {"class", "index", "probability"}, best first, and where there are steps
      `shipped_names.EXIT`, the number of the one that answered.
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
