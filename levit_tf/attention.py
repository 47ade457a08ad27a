"""LeViT's attention and subsampling attention, with the attention bias.

The layers take feature maps of shape (batch, height, width, channels) and flatten them to tokens
internally. Which bias belongs to which pair of tokens is defined in `levit_tf.attention_bias`, the
bias for a grid of another size than the table's in `levit_tf.attention_sizes`, and attention in
windows in `levit_tf.attention_windows`.

Source: levit.py of facebookresearch/LeViT; paper, sections 4.2 and 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from levit_tf import attention_windows as windows
from levit_tf.attention_bias import Grid
from levit_tf.attention_sizes import attention_bias_at, spread
from levit_tf.layers import DenseBN, keep_frozen, register


class TableAttention(keras.layers.Layer):
    """Base class of attention layers with a bias table: the table, its grid, and the windows.

    Args:
      num_heads: attention heads.
      stride: 1, or 2 to subsample.
      table_grid: (height, width) of the grid that the bias table is for; by default the input's.
        For any other grid the table is resized when the layer is called.
      window: side of the attention windows in tokens, see `levit_tf.attention_windows`; None for
        attention over the whole map. With windows, the table is not resized.
      is_shifted: whether the first window begins half a window before the map.

    Raises:
      ValueError: the window is not a multiple of the stride, or shifted windows are subsampled.
    """

    def __init__(
        self,
        num_heads: int,
        stride: int = 1,
        table_grid: Grid | None = None,
        window: int | None = None,
        is_shifted: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.stride = stride
        self.window = window
        self.is_shifted = is_shifted
        self._given_grid = None if table_grid is None else tuple(table_grid)
        if window is not None and (window < 1 or window % stride or (is_shifted and stride > 1)):
            raise ValueError(
                f"{self.name}: a window must be a positive multiple of the stride, {stride}, and "
                f"is not shifted where that is more than 1. Received: window={window}, "
                f"is_shifted={is_shifted}"
            )

    def add_table(self, grid: tuple[int | None, int | None]) -> None:
        """Creates the bias table; `build` calls this.

        Args:
          grid: (height, width) of the layer's input.

        Raises:
          ValueError: a side of the grid is unknown and there is no `table_grid`; or the window is
            larger than the table's grid.
        """
        self.grid = tuple(grid)
        self.table_grid = self._given_grid or self.grid
        if None in self.table_grid:
            raise ValueError(
                f"{self.name}: attention needs an input of shape (batch, height, width, channels) "
                f"with a fixed height and width, or a table_grid. Received: (height, width) = "
                f"{self.grid}"
            )
        if self.window and self.window > min(self.table_grid):
            raise ValueError(
                f"{self.name}: its bias table is for {self.table_grid[0]}x{self.table_grid[1]} "
                f"tokens, so a window can have {min(self.table_grid)} on a side at most. Received: "
                f"{self.window}"
            )
        self.attention_biases = self.add_weight(
            name="attention_biases",
            shape=(self.num_heads, self.table_grid[0] * self.table_grid[1]),
            initializer="zeros",
        )

    def cuts(self, grid) -> tuple[windows.Cut, windows.Cut] | None:
        """Returns how rows and columns of a grid are cut into windows; None without windows."""
        if self.window is None:
            return None
        return tuple(windows.cut(side, self.window, self.is_shifted) for side in grid)

    def attention_bias(self, grid: Sequence | None = None) -> Any:
        """Returns the bias that is added to the scores, of shape (heads, queries, keys).

        Args:
          grid: (height, width) of the key grid, or of one window if the layer has windows; by
            default the grid that the layer was built for.
        """
        if self.window is None:
            grid = tuple(grid or self.grid)
            return attention_bias_at(self.attention_biases, self.table_grid, grid, self.stride)
        if grid is None:
            grid = [min(self.window, side or self.window) for side in self.grid]
        return spread(self.attention_biases, tuple(grid), self.table_grid[1], self.stride)

    def mix(
        self, maps: Sequence, strides: Sequence[int], split: Callable, scale: float = 1.0
    ) -> Any:
        """Computes attention over maps: (batch, output height, output width, heads * value_dim).

        Args:
          maps: projected maps; a map of stride 1 covers the whole grid.
          strides: stride of each map relative to the grid, in tokens.
          split: function from the maps of the whole grid or of one window to q (batch, heads,
            queries, D), k (batch, heads, D, keys) and v (batch, heads, keys, V).
          scale: factor of the scores.
        """
        grid = map_sides(maps[strides.index(1)])
        cuts = self.cuts(grid)
        if cuts is not None:
            maps = [
                windows.to_windows(x, *(windows.subsampled(part, stride) for part in cuts))
                for x, stride in zip(maps, strides, strict=True)
            ]
            grid = tuple(part.size for part in cuts)
        q, k, v = split(*maps)
        weights = self.weigh(q, k, grid, cuts, scale)
        x = ops.matmul(weights, v)  # (batch, heads, queries, value_dim)
        channels = self.num_heads * x.shape[-1]
        x = ops.transpose(x, (0, 2, 1, 3))  # (batch, queries, heads, value_dim)
        # (batch, queries, heads, value_dim) -> (batch, height, width, heads * value_dim)
        x = ops.reshape(x, (-1, *subsampled_sides(grid, self.stride), channels))
        if cuts is not None:
            x = windows.from_windows(x, *(windows.subsampled(part, self.stride) for part in cuts))
        return x

    def weigh(self, q, k, grid, cuts, scale: float = 1.0):
        """Returns softmax(scale * q k + bias), of shape (batch, heads, queries, keys)."""
        scores = ops.matmul(q, k)
        if scale != 1:
            scores = scores * scale
        scores = scores + self.attention_bias(grid)
        if cuts is not None and windows.has_filling(*cuts):
            mask = ops.cast(windows.key_mask(*cuts), scores.dtype)
            scores = windows.masked(scores, mask)
        return _softmax(scores)

    def compute_grid(self, input_shape) -> tuple[int | None, int | None]:
        """Returns (height, width) of the output for an input shape."""
        return subsampled_sides(input_shape[1:3], self.stride)

    def get_config(self):
        config = {**super().get_config(), "num_heads": self.num_heads, "stride": self.stride}
        # Only values other than the defaults, so that older versions can load most networks.
        if self._given_grid is not None:
            config["table_grid"] = list(self._given_grid)
        if self.window is not None:
            config.update(window=self.window, is_shifted=self.is_shifted)
        return config


@register
class Attention(TableAttention):
    """Multi-head attention with an attention bias; with `stride=2`, LeViT's subsampling attention.

    Computes `softmax(q k^T / sqrt(key_dim) + bias) v`, then the activation and the projection. With
    stride 1, q, k and v come from one projection `qkv`. With stride 2, the projection `q` computes
    the queries from every second token in each direction, and `kv` computes keys and values from
    all tokens, so that the output grid is that of the queries (paper, section 4.2).

    Args:
      num_heads: attention heads.
      key_dim: channels of a head's query and key.
      value_dim: channels of a head's value.
      output_dim: channels of the output.
      stride: 1, or 2 to subsample.
      activation: Keras name of the activation before the projection.
      gamma: initial BatchNorm scale of the projection; 0 where attention is a residual branch.
      **kwargs: `table_grid`, `window` and `is_shifted` as in `TableAttention`, and the arguments of
        every Keras layer.

    Input shape: (batch, height, width, channels); height and width may be None with a `table_grid`.
    Output shape: (batch, ceil(height / stride), ceil(width / stride), output_dim).

    Raises:
      ValueError: the input's height or width is not known when the layer is built, and there is no
        `table_grid`; or the windows do not fit, see `TableAttention`.
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
        **kwargs: Any,
    ):
        super().__init__(num_heads, stride, **kwargs)
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.output_dim = output_dim
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
        if len(input_shape) != 4:
            raise ValueError(
                f"{self.name}: attention needs an input of shape (batch, height, width, channels). "
                f"Received: {tuple(input_shape)}"
            )
        batch, *grid, channels = input_shape
        self.output_grid = self.compute_grid(input_shape)
        if self.stride == 1:
            self.qkv.build(input_shape)
        else:
            self.kv.build(input_shape)
            self.q.build((batch, *self.output_grid, channels))
        self.proj.build((batch, *self.output_grid, self.num_heads * self.value_dim))
        self.add_table(grid)
        keep_frozen(self)

    def call(self, x, training=None):
        maps, strides = self._projected(x, training)
        x = self.mix(maps, strides, self._split, self.key_dim**-0.5)
        return self.proj(self.activation(x), training=training)

    def attention_weights(self, x: Any) -> Any:
        """Returns the attention weights of each query over the keys, at inference.

        Args:
          x: the layer's input, (batch, height, width, channels).

        Returns:
          (batch, heads, queries, keys); the weights of one query sum to 1.

        Raises:
          ValueError: the layer has windows, so that its queries do not share their keys.
        """
        if self.window is not None:
            raise ValueError(
                f"{self.name}: attention is cut into windows of {self.window}, so a query has no "
                "weights over the whole map. Build the model without attention_window."
            )
        maps, _ = self._projected(x, training=False)
        q, k, _ = self._split(*maps)
        return self.weigh(q, k, map_sides(x), None, self.key_dim**-0.5)

    def _projected(self, x, training):
        """Returns the projected maps and their strides: [qkv], or [q, kv] when subsampling."""
        if self.stride == 1:
            return [self.qkv(x, training=training)], [1]
        kv = self.kv(x, training=training)
        subsampled = x[:, :: self.stride, :: self.stride]
        return [self.q(subsampled, training=training), kv], [self.stride, 1]

    def _split(self, *maps):
        """Returns q (batch, heads, queries, D), k (b, heads, D, keys) and v (b, heads, keys, V)."""
        if self.stride == 1:
            qkv = split_heads(maps[0], self.num_heads)
            q, k, v = ops.split(qkv, [self.key_dim, 2 * self.key_dim], axis=-1)
        else:
            q, kv = (split_heads(x, self.num_heads) for x in maps)
            k, v = ops.split(kv, [self.key_dim], axis=-1)
        return by_head(q, k, v)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.compute_grid(input_shape), self.output_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "output_dim": self.output_dim,
            "activation": keras.activations.serialize(self.activation),
            "gamma": self.gamma,
        }


@register
class MapAttention(TableAttention):
    """The part of attention between the projections, for maps of unknown size.

    It is used in the deploy graph of networks with an open input size, because Keras' own layers
    cannot resize a table to the size of their input. For a fixed size, `levit_tf.fuse` builds
    attention from Keras' layers.

    Args: as in `TableAttention`.

    Input: [q, k, v], maps of shape (batch, height, width, heads * n); q is already scaled and, with
      a stride, subsampled.
    Output shape: the shape of q with the channels of v.
    """

    def build(self, input_shape):
        self.add_table(input_shape[1][1:3])

    def call(self, maps):
        return self.mix(maps, [self.stride, 1, 1], self._split)

    def _split(self, *maps):
        return by_head(*(split_heads(x, self.num_heads) for x in maps))

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], input_shape[2][-1])


def map_sides(x) -> tuple:
    """Returns (height, width) of a map: integers where they are known, else scalar tensors."""
    if None in x.shape[1:3]:
        return tuple(ops.shape(x)[1:3])
    return tuple(x.shape[1:3])


def subsampled_sides(sides, stride: int) -> tuple:
    """Returns (height, width) after every `stride`-th token is taken; None stays None."""
    return tuple(None if side is None else (side + stride - 1) // stride for side in sides)


def split_heads(x, heads: int):
    """Splits channels by head: (batch, height, width, heads * n) -> (batch, tokens, heads, n)."""
    height, width = map_sides(x)
    return ops.reshape(x, (-1, height * width, heads, x.shape[-1] // heads))


def by_head(q, k, v):
    """Transposes q, k and v, each (batch, tokens, heads, n), for attention's matrix products."""
    return (
        ops.transpose(q, (0, 2, 1, 3)),  # (batch, queries, heads, D) -> (b, heads, queries, D)
        ops.transpose(k, (0, 2, 3, 1)),  # (batch, keys, heads, D) -> (batch, heads, D, keys)
        ops.transpose(v, (0, 2, 1, 3)),  # (batch, keys, heads, V) -> (batch, heads, keys, V)
    )


def _softmax(scores):
    """Applies softmax over the keys, the last axis."""
    if scores.shape[-1] == 1:
        # With a single key every weight is 1. Keras' softmax warns about such an axis, so compute
        # the 1 in another way that keeps a gradient (of 0), which optimizers expect.
        return ops.exp(scores - scores)
    return ops.softmax(scores, axis=-1)
