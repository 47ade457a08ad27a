"""Losses on the outputs of a LeViT, one value per example, from labels and a teacher's logits.

Source: main.py and losses.py of facebookresearch/LeViT.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from levit_tf.names import WHOLE


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy against target probabilities.

    Args:
      targets: (batch, classes), smoothed and mixed labels; each row sums to 1.
      logits: (batch, classes).

    Returns:
      (batch,), float32.
    """
    log_probabilities = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    return -tf.reduce_sum(targets * log_probabilities, axis=1)


def hard_distillation(teacher: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy against the teacher's predicted class.

    Args:
      teacher: (batch, classes), the teacher's logits.
      logits: (batch, classes), the student's.

    Returns:
      (batch,), float32.
    """
    decision = tf.one_hot(tf.argmax(teacher, axis=1), teacher.shape[1])
    return cross_entropy(decision, logits)


def soft_distillation(
    teacher: tf.Tensor, logits: tf.Tensor, tau: float, is_mean_of_classes: bool = True
) -> tf.Tensor:
    """Kullback-Leibler divergence from the teacher at temperature `tau`, times tau ** 2 / classes.

    Args:
      teacher: (batch, classes), the teacher's logits.
      logits: (batch, classes), the student's.
      tau: temperature.
      is_mean_of_classes: whether to divide by the number of classes. The official code does so, as
        its mean is over all elements; Hinton et al. (arXiv 1503.02531) do not.

    Returns:
      (batch,), float32.
    """
    found = divergence(teacher, logits, tau) * tau**2
    return found / teacher.shape[1] if is_mean_of_classes else found


def divergence(expected: tf.Tensor, logits: tf.Tensor, tau: float = 1.0) -> tf.Tensor:
    """Kullback-Leibler divergence between logits (batch, classes) at a temperature: (batch,).

    Args:
      expected: (batch, classes), logits to learn from, such as a teacher's.
      logits: (batch, classes), the learner's logits.
      tau: temperature for both.
    """
    expected = tf.nn.log_softmax(tf.cast(expected, tf.float32) / tau)
    found = tf.nn.log_softmax(tf.cast(logits, tf.float32) / tau)
    return tf.reduce_sum(tf.exp(expected) * (expected - found), axis=1)


@dataclasses.dataclass(frozen=True)
class Distillation:
    """The loss of a student that learns from labels and a teacher.

    Attributes:
      kind: one of `training.choices.DISTILLATIONS`.
      alpha: weight of the teacher; the labels have weight 1 - alpha.
      tau: temperature of soft distillation.
      is_mean_of_classes: see `soft_distillation`.
    """

    kind: str = "none"
    alpha: float = 0.5
    tau: float = 1.0
    is_mean_of_classes: bool = True

    def __call__(
        self,
        targets: tf.Tensor,
        outputs: tf.Tensor | Mapping[str, tf.Tensor],
        teacher: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the loss of each example of a batch.

        Args:
          targets: (batch, classes), see `cross_entropy`.
          outputs: logits (batch, classes) without a teacher; otherwise a dict of "head", which
            learns from the targets, and "head_dist", which learns from the teacher and has as many
            classes as it.
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
            taught = soft_distillation(
                teacher, outputs["head_dist"], self.tau, self.is_mean_of_classes
            )
        return base * (1 - self.alpha) + taught * self.alpha


@dataclasses.dataclass(frozen=True)
class ExitsLoss:
    """The loss of a network with exits, which learn from labels, a teacher and the whole network.

    Attributes:
      base: loss from labels and teacher, for each exit and for the whole network.
      alpha: share of an exit's loss that is its divergence from the whole network's output.
      exit_weight: weight of each exit's loss in the sum.
      whole_weight: weight of the whole network's loss; 0 if that is not trained.
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
        """Computes the loss of each example of a batch.

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
        """Computes the base loss of one output, which learns from both labels and teacher."""
        if self.base.kind == "none":
            return self.base(targets, logits)
        return self.base(targets, {"head": logits, "head_dist": logits}, teacher)
