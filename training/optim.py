"""The optimizer of the recipe: AdamW as PyTorch computes it, with adaptive gradient clipping.

Source: main.py of facebookresearch/LeViT, which takes `adamw` from timm, which takes PyTorch's.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from training import agc
from training.mixed_precision import LossScale
from training.schedule import WarmupCosine

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class AdamW(keras.optimizers.Adam):
    """AdamW, step for step that of `torch.optim.AdamW`, under any `tf.distribute` strategy.

    `keras.optimizers.AdamW` differs in three ways that show: its epsilon is added before the bias
    correction, not after; it decays the weights before gradients are clipped by their norm; and it
    computes the bias corrections with a relative error of 5e-5 in the first steps.

    Clipping comes after the gradients of all replicas are summed.

    Args:
      learning_rate: a schedule, or a float.
      weight_decay: multiplied by the learning rate; of the variables that `decays` names.
      clip_factor: of `training.agc.clip`; 0 for no clipping.
      loss_scale: where float16 needs one: a step whose gradients are not finite changes nothing.
    """

    def __init__(
        self,
        learning_rate: keras.optimizers.schedules.LearningRateSchedule | float,
        weight_decay: float = 0.0,
        clip_factor: float = 0.0,
        loss_scale: LossScale | None = None,
    ):
        # Keras' own weight decay stays unused: see above.
        super().__init__(learning_rate, BETA_1, BETA_2, EPSILON, name="adamw")
        self.decoupled_decay = weight_decay
        self.clip_factor = clip_factor
        self.loss_scale = loss_scale

    def build(self, var_list):
        if self.built:
            return
        super().build(var_list)
        self._rules = [(agc.unit_axes(v), decays(v)) for v in var_list]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        axes, is_decayed = self._rules[index]
        rate = tf.cast(learning_rate, variable.dtype)
        gradient, weights = tf.cast(gradient, variable.dtype), tf.convert_to_tensor(variable)
        if self.clip_factor:
            gradient = agc.clip(gradient, weights, axes, self.clip_factor)
        if is_decayed:
            weights *= 1 - rate * self.decoupled_decay
        new_m = m + (1 - BETA_1) * (gradient - m)
        new_v = BETA_2 * v + (1 - BETA_2) * tf.square(gradient)
        steps = tf.cast(self._updates() + 1, variable.dtype)
        denominator = tf.sqrt(new_v) / tf.sqrt(_bias_correction(BETA_2, steps)) + EPSILON
        weights -= rate / _bias_correction(BETA_1, steps) * (new_m / denominator)
        if self.loss_scale is not None:
            finite = tf.math.is_finite(tf.reduce_sum(gradient))
            weights = tf.where(finite, weights, variable)
            new_m, new_v = tf.where(finite, new_m, m), tf.where(finite, new_v, v)
        self.assign(m, new_m)
        self.assign(v, new_v)
        self.assign(variable, weights)

    def _updates(self):
        """Steps that have changed the weights so far."""
        steps = tf.convert_to_tensor(self.iterations)
        return steps if self.loss_scale is None else steps - self.loss_scale.skipped_steps


def _bias_correction(beta: float, steps: tf.Tensor) -> tf.Tensor:
    """1 - beta ** steps, without the cancellation."""
    return -tf.math.expm1(steps * math.log(beta))


def decays(variable: keras.Variable) -> bool:
    """Whether weight decay applies: to kernels, not to vectors, not to attention biases."""
    return len(variable.shape) > 1 and variable.name != "attention_biases"


def make_optimizer(
    model: keras.Model,
    schedule: WarmupCosine,
    *,
    weight_decay: float,
    clip_factor: float,
    loss_scale: LossScale | None = None,
) -> AdamW:
    """Builds the optimizer of a run for the trainable variables of `model`, in their strategy."""
    optimizer = AdamW(schedule, weight_decay, clip_factor, loss_scale)
    optimizer.build(model.trainable_variables)
    return optimizer
