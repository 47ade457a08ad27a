"""Losses on the outputs of a LeViT, one value an example: labels, and a teacher's opinion.

Source: main.py and losses.py of facebookresearch/LeViT.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from levit_tf.names import WHOLE


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
    return divergence(teacher, logits, tau) * tau**2 / teacher.shape[1]


def divergence(expected: tf.Tensor, logits: tf.Tensor, tau: float = 1.0) -> tf.Tensor:
    """Kullback-Leibler divergence from expected logits (batch, classes) at a temperature: (batch,).

    Args:
      expected: (batch, classes), logits of who knows.
      logits: (batch, classes), of who learns.
      tau: temperature of both.
    """
    expected = tf.nn.log_softmax(tf.cast(expected, tf.float32) / tau)
    found = tf.nn.log_softmax(tf.cast(logits, tf.float32) / tau)
    return tf.reduce_sum(tf.exp(expected) * (expected - found), axis=1)


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


@dataclasses.dataclass(frozen=True)
class ExitsLoss:
    """How the exits of a network learn: from labels, a teacher, and the network's own last answer.

    Attributes:
      base: of labels and teacher, for each exit and for the whole network.
      alpha: share of an exit's loss that is its divergence from the whole network's answer.
      exit_weight: of each exit's loss in the sum.
      whole_weight: of the whole network's; 0 where that does not learn.
    """

    base: Distillation
    alpha: float = 0.5
    exit_weight: float = 1.0
    whole_weight: float = 0.0

    def __call__(
        self,
        targets: tf.Tensor,
        outputs: Mapping[str, tf.Tensor],
        teacher: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss of a batch.

        Args:
          targets: (batch, classes), see `cross_entropy`.
          outputs: logits (batch, classes) of a model of `levit_tf.dynamic.exits.add_exits`.
          teacher: (batch, classes), the teacher's logits for the same images.

        Returns:
          (batch,), float32.
        """
        whole = outputs[WHOLE]
        total = self.whole_weight * self._of_one(targets, whole, teacher)
        for name, logits in outputs.items():
            if name != WHOLE:
                taught = divergence(tf.stop_gradient(whole), logits)
                base = self._of_one(targets, logits, teacher)
                total += self.exit_weight * (base * (1 - self.alpha) + taught * self.alpha)
        return total

    def _of_one(self, targets, logits, teacher):
        """The base loss of one answer, which learns from labels and teacher alike."""
        if self.base.kind == "none":
            return self.base(targets, logits)
        return self.base(targets, {"head": logits, "head_dist": logits}, teacher)
