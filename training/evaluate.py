"""Accuracy of a network on labelled pictures."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from levit_tf.preprocessing import preprocess_input

BATCH_SIZE = 256


def top1(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of pictures whose highest score is that of their label, 0..1.

    Args:
      scores: (n, classes), logits or probabilities.
      labels: (n,) integers.
    """
    return float(np.mean(scores.argmax(axis=1) == labels))


def model_evaluator(
    model: keras.Model, images: np.ndarray, labels: np.ndarray
) -> Callable[[], float]:
    """A function that returns the top-1 of a model in training, by its present weights.

    Args:
      model: a LeViT with heads="both"; the mean of both heads' logits counts.
      images: (n, height, width, 3), RGB 0..255.
      labels: (n,) integers.
    """

    @tf.function(reduce_retracing=True)
    def logits(batch):
        heads = model(batch, training=False)
        return (heads["head"] + heads["head_dist"]) / 2

    def evaluate() -> float:
        rows = []
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            rows.append(logits(preprocess_input(batch, data_format="channels_last")).numpy())
        return top1(np.concatenate(rows), labels)

    return evaluate
