"""Losses on the outputs of a LeViT, one value an example: labels, and a teacher's opinion.

Source: main.py and losses.py of facebookresearch/LeViT.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy against probabilities.

    Args:
      targets: (batch, classes), each row of sum 1: labels, smoothed and mixed.
      logits: (batch, classes).

    Returns:
      (batch,), float32.
    """
    log_probabilities = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    return -tf.reduce_sum(targets * log_probabilities, axis=1)


def hard_distillation(teacher: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy against the teacher's decision.

    Args:
      teacher: (batch, classes), the teacher's logits.
      logits: (batch, classes), the student's.

    Returns:
      (batch,), float32.
    """
    decision = tf.one_hot(tf.argmax(teacher, axis=1), teacher.shape[1])
    return cross_entropy(decision, logits)


def soft_distillation(teacher: tf.Tensor, logits: tf.Tensor, tau: float) -> tf.Tensor:
    """Kullback-Leibler divergence from the teacher at temperature `tau`, times tau ** 2 / classes.

    The division by the number of classes is the official code's, whose mean is over all elements.

    Args:
      teacher: (batch, classes), the teacher's logits.
      logits: (batch, classes), the student's.
      tau: temperature.

    Returns:
      (batch,), float32.
    """
    expected = tf.nn.log_softmax(tf.cast(teacher, tf.float32) / tau)
    found = tf.nn.log_softmax(tf.cast(logits, tf.float32) / tau)
    divergence = tf.reduce_sum(tf.exp(expected) * (expected - found), axis=1)
    return divergence * tau**2 / teacher.shape[1]


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How a student learns from its labels and its teacher.

    Attributes:
      kind: one of `training.choices.DISTILLATIONS`.
      alpha: weight of the teacher; the labels have 1 - alpha.
      tau: temperature of the soft kind.
    """

    kind: str = "none"
    alpha: float = 0.5
    tau: float = 1.0

    def __call__(
        self,
        targets: tf.Tensor,
        outputs: tf.Tensor | Mapping[str, tf.Tensor],
        teacher: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss of a batch.

        Args:
          targets: (batch, classes), see `cross_entropy`.
          outputs: logits (batch, classes) without a teacher; else "head", which learns the
            targets, and "head_dist", which learns from the teacher.
          teacher: (batch, classes), the teacher's logits for the same images.

        Returns:
          (batch,), float32.
        """
        if self.kind == "none":
            return cross_entropy(targets, outputs)
        base = cross_entropy(targets, outputs["head"])
        if self.kind == "hard":
            taught = hard_distillation(teacher, outputs["head_dist"])
        else:
            taught = soft_distillation(teacher, outputs["head_dist"], self.tau)
        return base * (1 - self.alpha) + taught * self.alpha
