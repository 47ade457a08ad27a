"""What is said of one picture: a dictionary that JSON has words for."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from levit_lite.class_names import top_classes
from levit_lite.prediction.predictor import Predictor


def answer(predictor: Predictor, image: np.ndarray, top: int) -> dict[str, Any]:
    """Classifies one picture.

    Args:
      predictor: what classifies.
      image: (*predictor.input_size, 3), RGB 0..255.
      top: how many classes to name, at most as many as there are.

    Returns:
      "top", a list of {"class", "index", "probability"}, best first, and "ms", the milliseconds
      that the network took.

    Raises:
      ValueError: the network answers with NaN.
    """
    start = time.perf_counter()
    scores = predictor.predict(image[None])
    milliseconds = 1000 * (time.perf_counter() - start)
    best = top_classes(scores, min(top, predictor.classes))[0]
    return {
        "top": [
            {
                "class": predictor.class_names[index],
                "index": int(index),
                "probability": round(float(scores[0, index]), 6),
            }
            for index in best
        ],
        "ms": round(milliseconds, 3),
    }
