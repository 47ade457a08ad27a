"""Learning rates: the recipe's schedule per epoch, and one per step for short runs.

Source of the recipe's schedule: CosineLRScheduler of timm/scheduler/cosine_lr.py with the arguments
in main.py of facebookresearch/LeViT.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf


class WarmupCosine:
    """timm's cosine schedule as in the recipe: the rate changes once per epoch.

    In the warm-up, the rate of epoch e is `warmup_rate + e * (peak_rate - warmup_rate) /
    warmup_epochs`; after it, `min_rate + (peak_rate - min_rate) * (1 + cos(pi * e / epochs)) / 2`.
    The cosine starts at the first epoch, and the warm-up replaces its beginning. From epoch
    `epochs` on, in the cool-down, the rate is `min_rate`.

    The rates are computed in double precision and stored as a table, so that a step's rate is
    timm's, rounded once.

    Args:
      peak_rate: learning rate at the beginning of the cosine.
      epochs: length of the cosine in epochs.
      steps_per_epoch: optimizer steps in an epoch.
      warmup_epochs: number of epochs of linear growth.
      warmup_rate: rate of the first epoch of the warm-up.
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
        """Returns the learning rate of an epoch, counted from 0."""
        if epoch < self.warmup_epochs:
            growth = (self.peak_rate - self.warmup_rate) / self.warmup_epochs
            return self.warmup_rate + epoch * growth
        if epoch >= self.epochs:
            return self.min_rate
        amplitude = (self.peak_rate - self.min_rate) / 2
        return self.min_rate + amplitude * (1 + math.cos(math.pi * epoch / self.epochs))

    def total(self) -> float:
        """Returns the sum of the rates of all steps, without a cool-down."""
        return self.steps_per_epoch * sum(self._rates[:-1])

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate of a step, counted from 0; a float32 scalar."""
        epoch = tf.minimum(step // self.steps_per_epoch, self.epochs)
        return tf.gather(tf.constant(self._rates, tf.float32), epoch)


class StepCosine:
    """Linear warm-up over a number of steps, then a cosine; the rate changes with every step.

    In a run of few epochs, a rate that changes once per epoch would jump, and a warm-up of one
    epoch would take a large part of the run. The rate of step s of the warm-up is `warmup_rate +
    (peak_rate - warmup_rate) * (s + 1) / (warmup_steps + 1)`, so the first step already moves the
    weights.

    Args:
      peak_rate: highest learning rate.
      steps: length of warm-up and cosine together; in a cool-down after them the rate is
        `min_rate`.
      steps_per_epoch: optimizer steps in an epoch.
      warmup_steps: number of steps of linear growth.
      warmup_rate: rate at which the growth begins.
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
        """Returns the learning rate at the end of an epoch, counted from 0."""
        return float(self._rates[min((epoch + 1) * self.steps_per_epoch, len(self._rates)) - 1])

    def total(self) -> float:
        """Returns the sum of the rates of all steps: about how far a weight can move with Adam."""
        return float(self._rates[:-1].sum())

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate of a step, counted from 0; a float32 scalar."""
        place = tf.minimum(step, len(self._rates) - 1)
        return tf.gather(tf.constant(self._rates, tf.float32), place)
