"""An exponential moving average of a network in training, including BatchNorm statistics.

Source: `ModelEma` of timm/utils/model_ema.py, which averages the whole state dict.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from training.optim.variables import raw, unique_name, update_copies


class Ema:
    """A second network whose weights are the moving average of those of the first.

    Args:
      model: the network in training.
      average: another network of the same structure; its weights are overwritten.
      decay: share of the old average that a step keeps; 0.99996 in the recipe.
      warmup: whether step number n, counted from 1, keeps at most (1 + n) / (10 + n), as
        `tf.train.ExponentialMovingAverage` does with `num_updates`.

    Raises:
      ValueError: the networks have different weights.
    """

    def __init__(
        self, model: keras.Model, average: keras.Model, decay: float, warmup: bool = False
    ):
        pairs = list(zip(average.variables, model.variables, strict=True))
        # The states of random generators are integers and not part of the network.
        pairs = [(a, m) for a, m in pairs if raw(m).dtype == tf.float32]
        for averaged, weight in pairs:
            names = unique_name(averaged), unique_name(weight)
            if names[0] != names[1] or averaged.shape != weight.shape:
                raise ValueError(f"Not the same network: {' and '.join(names)}")
            averaged.assign(weight)
        self.model = average
        self.decay = decay
        self.warmup = warmup
        self._averaged = [raw(averaged) for averaged, _ in pairs]
        self._weights = [raw(weight) for _, weight in pairs]

    def update(self, step: tf.Tensor) -> None:
        """Updates the average, in replica context, after the optimizer's step.

        Args:
          step: number of the step, counted from 1; an integer scalar.
        """
        share = tf.constant(1 - self.decay, tf.float32)
        if self.warmup:
            number = tf.cast(step, tf.float32)
            share = 1 - tf.minimum((1 + number) / (10 + number), self.decay)

        def move(_, average, weight, shared):
            (share,) = shared
            average.assign_sub((average - weight) * share)

        update_copies(move, self._averaged, self._weights, shared=[share])
