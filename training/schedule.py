"""The learning rate of the recipe: linear warm-up, cosine by epochs, cool-down.

Source: CosineLRScheduler of timm/scheduler/cosine_lr.py with the arguments that main.py of
facebookresearch/LeViT leaves it.
"""

from __future__ import annotations

import math

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

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step, counted from 0; a float32 scalar."""
        epoch = tf.minimum(step // self.steps_per_epoch, self.epochs)
        return tf.gather(tf.constant(self._rates, tf.float32), epoch)
