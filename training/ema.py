"""An exponential moving average of a network in training, BatchNorm statistics included.

Source: `ModelEma` of timm/utils/model_ema.py, which averages the whole state dict.
"""

from __future__ import annotations

import keras
import tensorflow as tf


class Ema:
    """A second network whose weights follow those of the first.

    Args:
      model: the network in training.
      average: another of the same structure; its weights are overwritten with the first one's.
      decay: share of the old average that each step keeps; 0.99996 in the recipe.

    Raises:
      ValueError: the networks have different weights.
    """

    def __init__(self, model: keras.Model, average: keras.Model, decay: float):
        pairs = list(zip(average.variables, model.variables, strict=True))
        # The state of random draws is an integer, and none of the network's.
        pairs = [(a, m) for a, m in pairs if m.dtype == "float32"]
        for averaged, weight in pairs:
            if averaged.path != weight.path or averaged.shape != weight.shape:
                raise ValueError(f"Not the same network: {averaged.path} and {weight.path}")
            averaged.assign(weight)
        self.model = average
        self.decay = decay
        self._averaged = [averaged.value for averaged, _ in pairs]
        self._weights = [weight.value for _, weight in pairs]

    def update(self) -> None:
        """Takes one step, in replica context, after the optimizer's."""

        def move(average, weight):
            average.assign(average * self.decay + weight * (1 - self.decay))

        def on_each_device(strategy, averaged, weights):
            for average, weight in zip(averaged, weights, strict=True):
                strategy.extended.update(average, move, args=(weight,), group=False)

        # As Keras' optimizers do: every device moves its own copy, and nothing is communicated.
        tf.__internal__.distribute.interim.maybe_merge_call(
            on_each_device, tf.distribute.get_strategy(), self._averaged, self._weights
        )
