"""Learning rates: the recipe's, from epoch to epoch, and one from step to step for short runs.

Source of the recipe's: CosineLRScheduler of timm/scheduler/cosine_lr.py with the arguments that
main.py of facebookresearch/LeViT leaves it.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf


class WarmupCosine:
    """timm's cosine schedule as the recipe uses it: the rate changes from epoch to epoch.

    Epoch e has `warmup_rate + e * (peak_rate - warmup_rate) / warmup_epochs` in the warm-up, then
    `min_rate + (peak_rate - min_rate) * (1 + cos(pi * e / epochs)) / 2`: the cosine runs from the
    first epoch on, and the warm-up hides its beginning. From epoch `epochs` on, in the cool-down,
    it is `min_rate`.

    The rates are computed in double precision and kept as a table, so that a step's rate is timm's,
    rounded once.

    Args:
      peak_rate: learning rate of the cosine's beginning.
      epochs: length of the cosine.
      steps_per_epoch: optimizer steps in an epoch.
      warmup_epochs: epochs of linear growth.
      warmup_rate: rate of the first of them.
      min_rate: rate at the end of the cosine.
    """

    def __init__(
        self,
        peak_rate: float,
        epochs: int,
        steps_per_epoch: int,
        warmup_epochs: int = 0,
        warmup_rate: float = 0.0,
        min_rate: float = 0.0,
    ):
        self.peak_rate = peak_rate
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.warmup_epochs = warmup_epochs
        self.warmup_rate = warmup_rate
        self.min_rate = min_rate
        self._rates = [self.rate(epoch) for epoch in range(epochs + 1)]

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        if epoch < self.warmup_epochs:
            growth = (self.peak_rate - self.warmup_rate) / self.warmup_epochs
            return self.warmup_rate + epoch * growth
        if epoch >= self.epochs:
            return self.min_rate
        amplitude = (self.peak_rate - self.min_rate) / 2
        return self.min_rate + amplitude * (1 + math.cos(math.pi * epoch / self.epochs))

    def total(self) -> float:
        """The sum of the rates of all steps, but those of a cool-down."""
        return self.steps_per_epoch * sum(self._rates[:-1])

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step, counted from 0; a float32 scalar."""
        epoch = tf.minimum(step // self.steps_per_epoch, self.epochs)
        return tf.gather(tf.constant(self._rates, tf.float32), epoch)


class StepCosine:
    """Linear growth over a number of steps, then a cosine, both from step to step.

    In a run of few epochs a rate that changes with the epoch would jump, and a warm-up of one epoch
    would take a third of it. Step s of the warm-up has `warmup_rate + (peak_rate - warmup_rate) *
    (s + 1) / (warmup_steps + 1)`, so that the first one moves the weights already.

    Args:
      peak_rate: highest learning rate.
      steps: length of warm-up and cosine together; in a cool-down after it the rate is `min_rate`.
      steps_per_epoch: optimizer steps in an epoch.
      warmup_steps: steps of linear growth.
      warmup_rate: where the growth begins.
      min_rate: rate at the end of the cosine.
    """

    def __init__(
        self,
        peak_rate: float,
        steps: int,
        steps_per_epoch: int,
        warmup_steps: int = 0,
        warmup_rate: float = 0.0,
        min_rate: float = 0.0,
    ):
        self.steps_per_epoch = steps_per_epoch
        step = np.arange(steps + 1)
        growth = warmup_rate + (peak_rate - warmup_rate) * (step + 1) / (warmup_steps + 1)
        place = (step - warmup_steps) / max(steps - warmup_steps, 1)
        cosine = min_rate + (peak_rate - min_rate) * (1 + np.cos(np.pi * place)) / 2
        self._rates = np.where(step < warmup_steps, growth, cosine)

    def rate(self, epoch: int) -> float:
        """The learning rate at the end of an epoch, counted from 0."""
        return float(self._rates[min((epoch + 1) * self.steps_per_epoch, len(self._rates)) - 1])

    def total(self) -> float:
        """The sum of the rates of all steps: about how far a weight can get with Adam."""
        return float(self._rates[:-1].sum())

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step, counted from 0; a float32 scalar."""
        place = tf.minimum(step, len(self._rates) - 1)
        return tf.gather(tf.constant(self._rates, tf.float32), place)
