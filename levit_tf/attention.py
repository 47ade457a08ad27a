"""LeViT's attention, and its subsampling attention, with the attention bias.

Works on feature maps of shape (batch, height, width, channels) and flattens them to tokens inside.
The table that says which bias belongs to which pair of tokens is `levit_tf.attention_bias`.

Source: levit.py of facebookresearch/LeViT; paper, sections 4.2 and 4.3.
"""

from __future__ import annotations

import keras
from keras import ops

from levit_tf.attention_bias import attention_bias_index
from levit_tf.layers import DenseBN, register


@register
class Attention(keras.layers.Layer):
    """Multi-head attention with an attention bias; with `stride` 2 LeViT's subsampling attention.

    `softmax(q k^T / sqrt(key_dim) + bias) v`, activation, projection. With stride 1, q, k and v
    come from one projection `qkv`. With stride 2 the queries are computed from every second token
    in each direction by a projection of their own, `q`, and keys and values from all tokens by
    `kv`, so that the output grid is the queries' (paper, section 4.2).

    Args:
      num_heads: attention heads.
      key_dim: channels of a head's query and key.
      value_dim: channels of a head's value.
      output_dim: channels of the output.
      stride: 1, or 2 to subsample.
      activation: Keras name of the activation before the projection.
      gamma: initial BatchNorm scale of the projection; 0 where attention is a residual branch.

    Input shape: (batch, height, width, channels), height and width known.
    Output shape: (batch, ceil(height / stride), ceil(width / stride), output_dim).

    Raises:
      ValueError: the input's height or width is not known when the layer is built; the bias table
        has one entry for each offset on the grid.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int,
        output_dim: int,
        stride: int = 1,
        activation: str = "hard_silu",
        gamma: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.output_dim = output_dim
        self.stride = stride
        self.gamma = gamma
        self.activation = keras.activations.get(activation)
        dtype = self.dtype_policy
        if stride == 1:
            self.qkv = DenseBN(num_heads * (2 * key_dim + value_dim), dtype=dtype, name="qkv")
        else:
            self.kv = DenseBN(num_heads * (key_dim + value_dim), dtype=dtype, name="kv")
            self.q = DenseBN(num_heads * key_dim, dtype=dtype, name="q")
        self.proj = DenseBN(output_dim, gamma=gamma, dtype=dtype, name="proj")

    def build(self, input_shape):
        batch, *grid, _ = input_shape
        if len(grid) != 2 or None in grid:
            raise ValueError(
                f"{self.name}: attention needs an input of shape (batch, height, width, channels) "
                f"with a fixed height and width. Received: {tuple(input_shape)}"
            )
        self.grid = tuple(grid)
        self.output_grid = tuple(-(-side // self.stride) for side in grid)
        if self.stride == 1:
            self.qkv.build(input_shape)
        else:
            self.kv.build(input_shape)
            self.q.build((batch, *self.output_grid, input_shape[-1]))
        self.proj.build((batch, *self.output_grid, self.num_heads * self.value_dim))
        self.attention_biases = self.add_weight(
            name="attention_biases",
            shape=(self.num_heads, self.grid[0] * self.grid[1]),
            initializer="zeros",
        )
        self._bias_index = attention_bias_index(self.grid, self.stride)

    def call(self, x, training=None):
        q, k, v = self._query_key_value(x, training)
        x = ops.matmul(self._weights(q, k), v)  # (batch, heads, queries, value_dim)
        x = ops.transpose(x, (0, 2, 1, 3))  # (batch, queries, heads, value_dim)
        # (batch, queries, heads, value_dim) -> (batch, height, width, heads * value_dim)
        x = ops.reshape(x, (-1, *self.output_grid, self.num_heads * self.value_dim))
        return self.proj(self.activation(x), training=training)

    def attention_bias(self):
        """The bias added to the scores, of shape (heads, queries, keys)."""
        return ops.take(self.attention_biases, self._bias_index, axis=1)

    def attention_weights(self, x):
        """How much each query takes of each key, at inference.

        Args:
          x: the layer's input, (batch, height, width, channels).

        Returns:
          (batch, heads, queries, keys); over the keys they sum to 1.
        """
        q, k, _ = self._query_key_value(x, training=False)
        return self._weights(q, k)

    def _weights(self, q, k):
        scores = ops.matmul(q, k) * self.key_dim**-0.5  # (batch, heads, queries, keys)
        return _softmax(scores + self.attention_bias())

    def _query_key_value(self, x, training):
        """q (batch, heads, queries, D), k (batch, heads, D, keys), v (batch, heads, keys, V)."""
        if self.stride == 1:
            qkv = self._split_heads(self.qkv(x, training=training))
            q, k, v = ops.split(qkv, [self.key_dim, 2 * self.key_dim], axis=-1)
        else:
            kv = self._split_heads(self.kv(x, training=training))
            k, v = ops.split(kv, [self.key_dim], axis=-1)
            subsampled = x[:, :: self.stride, :: self.stride]
            q = self._split_heads(self.q(subsampled, training=training))
        return (
            ops.transpose(q, (0, 2, 1, 3)),  # (batch, queries, heads, D) -> (b, heads, queries, D)
            ops.transpose(k, (0, 2, 3, 1)),  # (batch, keys, heads, D) -> (batch, heads, D, keys)
            ops.transpose(v, (0, 2, 1, 3)),  # (batch, keys, heads, V) -> (batch, heads, keys, V)
        )

    def _split_heads(self, x):
        """(batch, height, width, heads * n) -> (batch, height * width, heads, n)."""
        _, height, width, channels = x.shape
        return ops.reshape(x, (-1, height * width, self.num_heads, channels // self.num_heads))

    def compute_output_shape(self, input_shape):
        grid = (-(-side // self.stride) for side in input_shape[1:3])
        return (input_shape[0], *grid, self.output_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "output_dim": self.output_dim,
            "stride": self.stride,
            "activation": keras.activations.serialize(self.activation),
            "gamma": self.gamma,
        }


def _softmax(scores):
    """Softmax over the keys, the last axis."""
    if scores.shape[-1] == 1:
        # On a grid of one token every weight is 1. Keras' softmax warns of that, and rightly so
        # where it is not meant; this is 1 too, with the gradient of 0 that optimizers expect.
        return ops.exp(scores - scores)
    return ops.softmax(scores, axis=-1)
