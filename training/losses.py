"""Losses on the outputs of a LeViT with both heads, one value an example."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Softmax cross-entropy against smoothed labels.

    Args:
      labels: (batch,) integers.
      logits: (batch, classes).
      smoothing: the target is `1 - smoothing` on the label plus `smoothing / classes` on every
        class (timm's LabelSmoothingCrossEntropy, which main.py uses).

    Returns:
      (batch,), float32.
    """
    log_probabilities = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    on_label = tf.gather(log_probabilities, labels, axis=1, batch_dims=1)
    return -(1 - smoothing) * on_label - smoothing * tf.reduce_mean(log_probabilities, axis=1)


def two_head_loss(
    labels: tf.Tensor, outputs: Mapping[str, tf.Tensor], smoothing: float = 0.0
) -> tf.Tensor:
    """Mean of both heads' losses on the labels: training without a teacher.

    Args:
      labels: (batch,) integers.
      outputs: "head" and "head_dist", logits (batch, classes).
      smoothing: see `cross_entropy`.

    Returns:
      (batch,), float32.
    """
    head = cross_entropy(labels, outputs["head"], smoothing)
    return (head + cross_entropy(labels, outputs["head_dist"], smoothing)) / 2
