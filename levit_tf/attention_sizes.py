"""The attention bias for a grid whose size is known only when the model is called.

The trained variable is one table for one grid. For another grid, it is resized by the rule of
`levit_tf.attention_bias.resize_attention_bias` and expanded to all pairs of queries and keys. If
the size is known during the call, everything that depends only on the size is computed in numpy
and cached; in a graph for every size, the graph computes it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from keras import ops

from levit_tf.attention_bias import Grid, attention_bias_index, interpolation

Side = Any  # int, or a scalar integer tensor


def attention_bias_at(table, source: Grid, target: tuple[Side, Side], stride: int = 1):
    """Returns the bias that is added to the scores on a grid.

    Args:
      table: (heads, source height * source width) tensor, the trained table.
      source: (height, width) of the key grid that the table was trained on.
      target: (height, width) of the key grid in this call.
      stride: see `levit_tf.attention_bias.attention_bias_index`.

    Returns:
      (heads, queries, keys), equal to that of the resized table.
    """
    if _is_known(*target) and tuple(target) == tuple(source):
        return spread(table, target, target[1], stride)
    heads = table.shape[0]
    picture = ops.reshape(table, (heads, *source))  # (heads, h*w) -> (heads, h, w)
    rows, columns = (_weights(*sides) for sides in zip(source, target, strict=True))
    rows, columns = (ops.cast(x, table.dtype) for x in (rows, columns))
    if _is_known(*target):
        # (H, h) x (heads, h, w) x (w, W) -> (heads, H, W)
        picture = ops.matmul(ops.matmul(rows, picture), ops.transpose(columns))
        flat = ops.reshape(picture, (heads, -1))  # (heads, H, W) -> (heads, H*W)
        return spread(flat, target, target[1], stride)
    # Looking up each entry separately would take longer than everything else here. So the columns
    # are resized to all (query, key) pairs of columns at once, with a product of small matrices,
    # and then whole rows of these pairs are copied.
    dy, dx = (_offsets(side, stride) for side in target)  # (queries, keys) of one direction
    pairs = ops.take(columns, ops.reshape(dx, (-1,)), axis=0)  # (qx*kx, w)
    x = ops.matmul(ops.matmul(rows, picture), ops.transpose(pairs))  # (heads, H, qx*kx)
    x = ops.take(x, ops.reshape(dy, (-1,)), axis=1)  # (heads, qy*ky, qx*kx)
    sides = (*ops.shape(dy), *ops.shape(dx))
    x = ops.transpose(ops.reshape(x, (heads, *sides)), (0, 1, 3, 2, 4))  # (heads, qy, qx, ky, kx)
    return ops.reshape(x, (heads, sides[0] * sides[2], sides[1] * sides[3]))


def spread(table, grid: Grid, table_width: int, stride: int = 1):
    """Expands a table to the queries and keys of a grid that is not larger than the table.

    Args:
      table: (heads, table height * table width) tensor.
      grid: (height, width) of the key grid.
      table_width: width of the table, at least that of the grid.
      stride: see `levit_tf.attention_bias.attention_bias_index`.

    Returns:
      (heads, queries, keys).
    """
    return ops.take(table, _index(tuple(grid), stride, table_width), axis=1)


def _is_known(*sides: Side) -> bool:
    return all(isinstance(side, int) for side in sides)


# Enough for two input sizes with five attention shapes each; a grid of 64x64 takes 64 MiB.
@functools.lru_cache(maxsize=10)
def _index(grid: Grid, stride: int, table_width: int) -> np.ndarray:
    if grid[1] == table_width:
        return attention_bias_index(grid, stride)
    within = attention_bias_index(grid, stride)
    return within // grid[1] * table_width + within % grid[1]


def _weights(source: int, target: Side):
    """Returns the (target, source) matrix of `levit_tf.attention_bias.interpolation`."""
    if _is_known(target):
        return _kept_interpolation(source, target)
    # Integers up to the division, because a position in float32 would be off by 1e-6. A source
    # entry at a distance of less than one source step has the weight 1 - distance.
    steps = ops.maximum(target - 1, 1)
    positions = ops.arange(target, dtype="int32") * (source - 1)
    distances = ops.abs(positions[:, None] - steps * np.arange(source, dtype=np.int32))
    weights = ops.cast(ops.maximum(steps - distances, 0), "float32")
    return weights / ops.cast(steps, "float32")


@functools.lru_cache(maxsize=32)
def _kept_interpolation(source: int, target: int) -> np.ndarray:
    return interpolation(source, target).astype(np.float32)


def _offsets(side: Side, stride: int):
    """Returns the (queries, keys) distances between the tokens of one row or column."""
    keys = ops.arange(side, dtype="int32")
    return ops.abs(keys[::stride, None] - keys[None, :])
