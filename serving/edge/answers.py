"""Makes the JSON-serialisable result for one picture."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from levit_lite.class_names import top_classes
from levit_lite.prediction.predictor import Predictor


def answer(predictor: Predictor, image: np.ndarray, top: int) -> dict[str, Any]:
    """Classifies one picture.

    Args:
      predictor: the classifier.
      image: (*predictor.input_size, 3), RGB 0..255.
      top: largest number of classes to return.

    Returns:
      "top", a list of {"class", "index", "probability"}, best first, and "ms", the time of the
      network in milliseconds.

    Raises:
      ValueError: an output is NaN.
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
