"""Names of the likeliest ImageNet classes, as keras.applications has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from levit_lite.class_names import imagenet_classes, top_classes


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Names the likeliest ImageNet classes, as keras.applications does, without a download.

    Args:
      preds: (batch, 1000) scores, an array or a tensor.
      top: how many classes to name for each image.

    Returns:
      For each image a list of (WordNet id, name, score), best first; equal scores in class order.

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
