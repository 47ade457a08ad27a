"""Makes the JSON-serialisable result for one picture."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from levit_lite.prediction.answers import answer_of
from levit_lite.prediction.predictor import Predictor


def answer(predictor: Predictor, image: np.ndarray, top: int) -> dict[str, Any]:
    """Classifies one picture.

    Args:
      predictor: the classifier.
      image: (*predictor.input_size, 3), RGB 0..255.
      top: largest number of classes to return.

    Returns:
      The result of `levit_lite.prediction.answers.answer_of`, and "ms", the time of the network in
      milliseconds.

    Raises:
      ValueError: an output is NaN.
    """
    start = time.perf_counter()
    scores, steps = predictor.predict_with_exits(image[None])
    milliseconds = 1000 * (time.perf_counter() - start)
    found = answer_of(scores[0], predictor.class_names, top, None if steps is None else steps[0])
    return {**found, "ms": round(milliseconds, 3)}
