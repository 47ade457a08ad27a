"""tf_keras layers for what tf_keras has no layer for, each one op of an integer network.

A quantiser rounds between ops. An activation that integers compute in two steps, a gate and a
product, is two layers here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from converters.qat.qat_packages import tf_keras

_register = tf_keras.saving.register_keras_serializable(package="levit_tf")


@_register
class MatMul(tf_keras.layers.Layer):
    """Product of (batch, heads, m, k) and (batch, heads, k, n)."""

    def call(self, inputs):
        return tf.matmul(*inputs)


@_register
class AddBias(tf_keras.layers.Layer):
    """Sum of scores (batch, heads, queries, keys) and a bias (1, heads, queries, keys)."""

    def call(self, inputs):
        scores, bias = inputs
        return scores + bias


@_register
class AttentionBias(tf_keras.layers.Layer):
    """The expanded attention bias, (1, heads, queries, keys), looked up in a table.

    Args:
      index: (queries, keys), the column of the table that an entry is.
      heads: rows of the table.
      columns: columns of the table.
    """

    def __init__(self, index: Sequence[Sequence[int]], heads: int, columns: int, **kwargs):
        super().__init__(**kwargs)
        self.index = np.asarray(index, np.int32)
        self.heads = heads
        self.columns = columns

    def build(self, input_shape):
        self.attention_biases = self.add_weight(
            name="attention_biases", shape=(self.heads, self.columns), initializer="zeros"
        )
        super().build(input_shape)

    def call(self, x):
        del x  # every layer of a functional model has an input
        # (heads, queries, keys) -> (1, heads, queries, keys)
        return self.expanded(self.attention_biases)[None]

    def expanded(self, table: tf.Tensor) -> tf.Tensor:
        """(heads, columns) -> (heads, queries, keys)."""
        return tf.gather(table, self.index, axis=1)

    def compute_output_shape(self, input_shape):
        return (1, self.heads, *self.index.shape)

    def get_config(self):
        return {
            **super().get_config(),
            "index": self.index.tolist(),
            "heads": self.heads,
            "columns": self.columns,
        }


def attention_bias(constant: np.ndarray, name: str) -> tuple[AttentionBias, np.ndarray]:
    """A layer for an expanded bias, and its table.

    Entries that are equal in all heads are one column, so that training keeps them equal: in a
    trained network they are those of the same offset on the grid.

    Args:
      constant: (heads, queries, keys).
      name: of the layer.

    Returns:
      The layer, and the table (heads, columns).
    """
    heads, queries, keys = constant.shape
    # (heads, queries, keys) -> (heads, queries * keys)
    flat = constant.reshape(heads, queries * keys)
    table, index = np.unique(flat, axis=1, return_inverse=True)
    # (queries * keys,) -> (queries, keys)
    return AttentionBias(index.reshape(queries, keys), heads, table.shape[1], name=name), table


@_register
class HardGate(tf_keras.layers.Layer):
    """relu6(x + 3) / 6: x times this is hard-swish. In 0..1."""

    def call(self, x):
        return tf.nn.relu6(x + 3) / 6


@_register
class Sigmoid(tf_keras.layers.Layer):
    """The logistic function: x times this is SiLU. In 0..1."""

    def call(self, x):
        return tf.nn.sigmoid(x)


# By Keras' names of the activations that multiply their input by a gate.
GATES = {"hard_silu": HardGate, "silu": Sigmoid}
