"""The optimizer of the recipe: AdamW, its weight-decay exclusions, warm-up and cosine.

Source: main.py of facebookresearch/LeViT, which takes them from timm.
"""

from __future__ import annotations

import math

import keras
from keras import ops

from training.config import Config

EPSILON = 1e-8


@keras.saving.register_keras_serializable(package="levit_tf")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """timm's cosine schedule as the recipe uses it: the rate changes from epoch to epoch.

    Epoch e has `warmup_rate + e * (peak_rate - warmup_rate) / warmup_epochs` in the warm-up, then
    `min_rate + (peak_rate - min_rate) * (1 + cos(pi * e / epochs)) / 2`: the cosine runs from the
    first epoch on, and the warm-up hides its beginning. After the last epoch it is `min_rate`.

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

    def __call__(self, step):
        epoch = ops.cast(step // self.steps_per_epoch, "float32")
        growth = (self.peak_rate - self.warmup_rate) / max(self.warmup_epochs, 1)
        warmup = self.warmup_rate + epoch * growth
        amplitude = (self.peak_rate - self.min_rate) / 2
        cosine = self.min_rate + amplitude * (1 + ops.cos(math.pi * epoch / self.epochs))
        rate = ops.where(epoch < self.warmup_epochs, warmup, cosine)
        return ops.where(epoch < self.epochs, rate, self.min_rate)

    def get_config(self):
        return dict(vars(self))


def make_optimizer(
    model: keras.Model, config: Config, steps_per_epoch: int
) -> keras.optimizers.AdamW:
    """Builds the optimizer of a run for the variables of `model`."""
    schedule = WarmupCosine(
        config.peak_learning_rate,
        config.epochs,
        steps_per_epoch,
        config.warmup_epochs,
        config.warmup_learning_rate,
        config.min_learning_rate,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=config.weight_decay, beta_1=0.9, beta_2=0.999, epsilon=EPSILON
    )
    # By variable: `var_names` are patterns, and "bias" would match every attention's projection.
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in model.trainable_variables if not decays(v)]
    )
    optimizer.build(model.trainable_variables)
    return optimizer


def decays(variable: keras.Variable) -> bool:
    """Whether weight decay applies: to kernels, not to vectors, not to attention biases."""
    return len(variable.shape) > 1 and not variable.path.endswith("/attention_biases")
