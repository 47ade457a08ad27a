"""The optimizer of the recipe: AdamW with PyTorch's arithmetic, and adaptive gradient clipping.

Source: main.py of facebookresearch/LeViT, which uses `adamw` of timm, which is PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from training.optim import agc
from training.optim.mixed_precision import LossScale
from training.optim.variables import own_name, raw, unique_name, update_copies

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class AdamW:
    """AdamW that equals `torch.optim.AdamW` in every step, under any `tf.distribute` strategy.

    `keras.optimizers.AdamW` differs in three visible ways: it adds epsilon before the bias
    correction, not after it; it decays the weights before gradients are clipped by norm; and its
    bias corrections have a relative error of 5e-5 in the first steps. In addition, this class
    accepts variables of both Keras 3 and tf_keras, which quantisation-aware training needs, and
    updates each of them with one operation.

    Gradients are clipped after they are summed over all replicas.

    Args:
      variables: float32 variables to train, created in the scope of the strategy. The optimizer
        must be built in that scope, too.
      learning_rate: function from the index of the step, an int64 scalar, to the rate; or a float.
      weight_decay: weight decay, multiplied by the learning rate; for variables for which `decays`
        is true.
      clip_factor: factor of `training.optim.agc.clip`; 0 for no clipping.
      rate_factors: factor on the learning rate of each variable; by default 1 for all.
      loss_scale: the loss scale for float16: steps whose gradients are not finite change nothing.

    Attributes:
      iterations: number of steps so far, including skipped ones; an int64 variable.
      momentums: first moments, one per variable.
      velocities: second moments, one per variable.
      loss_scale: the loss scale, if any.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable | tf.Variable],
        learning_rate: Callable[[tf.Tensor], tf.Tensor] | float,
        weight_decay: float = 0.0,
        clip_factor: float = 0.0,
        rate_factors: Sequence[float] | None = None,
        loss_scale: LossScale | None = None,
    ):
        self.iterations = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="adamw/iterations",
        )
        self.momentums = [_slot(v, "momentum") for v in variables]
        self.velocities = [_slot(v, "velocity") for v in variables]
        self.loss_scale = loss_scale
        self._learning_rate = learning_rate
        self._weight_decay = weight_decay
        self._clip_factor = clip_factor
        self._weights = [raw(v) for v in variables]
        factors = [1.0] * len(self._weights) if rate_factors is None else rate_factors
        self._rules = [
            (agc.unit_axes(v), decays(v), factor)
            for v, factor in zip(variables, factors, strict=True)
        ]

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables of its state."""
        return [self.iterations, *self.momentums, *self.velocities]

    def apply(self, gradients: Sequence[tf.Tensor], finite: tf.Tensor | bool = True) -> None:
        """Performs one step, in replica context.

        Args:
          gradients: gradients of the replica's share of the loss, one per variable; they are
            summed.
          finite: whether the step counts, as from `LossScale.scale_down`.
        """
        gradients = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, list(gradients)
        )
        update_copies(
            self._update,
            self._weights,
            gradients,
            self.momentums,
            self.velocities,
            shared=self._scalars(finite),
        )
        self.iterations.assign_add(1)

    def _update(self, number, weights, gradient, m, v, scalars) -> None:
        """Updates one copy of a variable and of its moments."""
        finite, rate, decay, epsilon, beta_1, beta_2 = scalars
        axes, is_decayed, factor = self._rules[number]
        if factor != 1:
            rate, decay = rate * factor, decay * factor
        if self._clip_factor:
            gradient = agc.clip(gradient, tf.convert_to_tensor(weights), axes, self._clip_factor)
        if self.loss_scale is not None:
            gradient = tf.where(finite, gradient, 0.0)
        if is_decayed:
            weights.assign_sub(weights * decay)
        # TensorFlow's Adam adds epsilon to sqrt(v) before bias correction and includes the
        # corrections in the rate; with both scaled accordingly, it equals PyTorch's formula. Its
        # own corrections, from powers of beta, suffer from cancellation in the first steps, so they
        # are turned off.
        tf.raw_ops.ResourceApplyAdam(
            var=weights.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=0.0,
            beta2_power=0.0,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=gradient,
        )

    def _scalars(self, finite: tf.Tensor | bool) -> list[tf.Tensor]:
        """Computes the scalars of the update, such that a step that is not finite does nothing."""
        rate, steps = self._learning_rate, tf.identity(self.iterations)
        rate = tf.cast(rate(steps) if callable(rate) else rate, tf.float32)
        if self.loss_scale is not None:
            steps -= self.loss_scale.skipped_steps
        steps = tf.cast(steps + 1, tf.float32)
        second = tf.sqrt(_bias_correction(BETA_2, steps))
        rate_and_first = rate * second / _bias_correction(BETA_1, steps)
        finite = tf.convert_to_tensor(finite)
        scalars = [rate_and_first, rate * self._weight_decay, EPSILON * second, BETA_1, BETA_2]
        idle = [0.0, 0.0, EPSILON, 1.0, 1.0]
        if self.loss_scale is not None:
            scalars = [tf.where(finite, *pair) for pair in zip(scalars, idle, strict=True)]
        return [finite, *map(tf.convert_to_tensor, scalars)]


def _slot(variable: keras.Variable | tf.Variable, name: str) -> tf.Variable:
    """Creates a moment of a variable, all zeros, replicated as the strategy of the scope does."""
    name = f"adamw/{unique_name(variable)}/{name}"
    return tf.Variable(tf.zeros(variable.shape), trainable=False, name=name)


def _bias_correction(beta: float, steps: tf.Tensor) -> tf.Tensor:
    """Computes 1 - beta ** steps without cancellation, for beta rounded to float32.

    The moments are computed with the rounded beta. In float32, 1 - 0.999 has an error of 1.3e-5.
    """
    return -tf.math.expm1(steps * math.log(float(np.float32(beta))))


def decays(variable: keras.Variable | tf.Variable) -> bool:
    """Whether weight decay applies: to kernels, but not to vectors and attention biases."""
    return len(variable.shape) > 1 and own_name(variable) != "attention_biases"
