"""The optimizer of the recipe: AdamW as PyTorch computes it, with adaptive gradient clipping.

Source: main.py of facebookresearch/LeViT, which takes `adamw` from timm, which takes PyTorch's.
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
    """AdamW, step for step that of `torch.optim.AdamW`, under any `tf.distribute` strategy.

    `keras.optimizers.AdamW` differs in three ways that show: its epsilon is added before the bias
    correction, not after; it decays the weights before gradients are clipped by their norm; and it
    computes the bias corrections with a relative error of 5e-5 in the first steps. This one also
    takes the variables of Keras 3 and of tf_keras alike, which quantisation-aware training needs,
    and updates each of them with one operation.

    Clipping comes after the gradients of all replicas are summed.

    Args:
      variables: what is trained, float32, made in the scope of the strategy. Build the optimizer
        in that scope too.
      learning_rate: of the number of the step, an int64 scalar; or a float.
      weight_decay: multiplied by the learning rate; of the variables that `decays` names.
      clip_factor: of `training.optim.agc.clip`; 0 for no clipping.
      rate_factors: by which each variable's rate is multiplied; by default 1 for all.
      loss_scale: where float16 needs one: a step whose gradients are not finite changes nothing.

    Attributes:
      iterations: steps so far, skipped ones included; an int64 variable.
      momentums: first moments, one for each variable.
      velocities: second moments.
      loss_scale: the argument.
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
        """All of its state."""
        return [self.iterations, *self.momentums, *self.velocities]

    def apply(self, gradients: Sequence[tf.Tensor], finite: tf.Tensor | bool = True) -> None:
        """Takes one step, in replica context.

        Args:
          gradients: of the replica's share of the loss, one for each variable; they are summed.
          finite: whether the step counts: `LossScale.scale_down` says so.
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
        """Moves one copy of a variable and of its moments."""
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
        # TensorFlow's Adam adds epsilon to sqrt(v) before any bias correction and leaves the
        # corrections to the rate: with both of them scaled it is PyTorch's formula. Its own
        # corrections, of the powers of beta, cancel in the first steps, so they are left out.
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
        """What the update of every variable is computed with: such that a bad step does nothing."""
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
    """A moment of a variable, zero; copied over the devices as the strategy of the scope does."""
    name = f"adamw/{unique_name(variable)}/{name}"
    return tf.Variable(tf.zeros(variable.shape), trainable=False, name=name)


def _bias_correction(beta: float, steps: tf.Tensor) -> tf.Tensor:
    """1 - beta ** steps, without the cancellation, for beta as float32 rounds it.

    The moments are computed with the rounded one. 1 - 0.999 is 1.3e-5 off in float32.
    """
    return -tf.math.expm1(steps * math.log(float(np.float32(beta))))


def decays(variable: keras.Variable | tf.Variable) -> bool:
    """Whether weight decay applies: to kernels, not to vectors, not to attention biases."""
    return len(variable.shape) > 1 and own_name(variable) != "attention_biases"
