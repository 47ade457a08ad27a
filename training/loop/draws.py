"""Random draws of drop_path as a function of (seed, step, layer), so that a run resumes exactly.

Keras keeps the state of its random generators in variables that no weights file contains.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from levit_tf.layers import DropPath


class DropPathDraws:
    """Sets the seeds of a network's `DropPath` layers.

    Args:
      model: the network.
      seed: seed of the run.
    """

    def __init__(self, model: keras.Model, seed: int):
        self._states = [
            layer.seed_generator.state
            for layer in model._flatten_layers()
            if isinstance(layer, DropPath)
        ]
        self._seed = seed

    def set(self, step: tf.Tensor, part: tf.Tensor | int) -> None:
        """Prepares the next forward pass, in replica context.

        Args:
          step: index of the training step, an integer scalar.
          part: index of the part of the batch: each micro-batch of each replica has its own.
        """
        if not self._states:
            return
        fold = tf.random.experimental.stateless_fold_in
        step_seed = fold(tf.stack([tf.constant(self._seed, tf.int64), tf.cast(step, tf.int64)]), 0)
        part_seed = fold(step_seed, tf.cast(part, tf.int64))
        for layer, state in enumerate(self._states):
            state.assign(fold(part_seed, layer))
