"""`decode_predictions` as in keras.applications: names of the most likely ImageNet classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from levit_lite.class_names import imagenet_classes, top_classes


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Returns the most likely ImageNet classes by name, as keras.applications does, offline.

    Args:
      preds: (batch, 1000) scores, an array or a tensor.
      top: how many classes to name for each image.

    Returns:
      For each image a list of (WordNet id, name, score), highest score first; classes with equal
      scores are in class order.

    Raises:
      ValueError: `preds` has another shape, or `top` is not in 1..1000.
    """
    classes = imagenet_classes()
    shape = tuple(np.shape(preds))
    if len(shape) != 2 or shape[1] != len(classes):
        raise ValueError(
            "decode_predictions takes a batch of predictions over ImageNet's classes, of shape "
            f"(batch, {len(classes)}). Received: shape {shape}"
        )
    preds = ops.convert_to_numpy(preds)
    return [
        [(*classes[index], scores[index]) for index in best]
        for scores, best in zip(preds, top_classes(preds, top), strict=True)
    ]
