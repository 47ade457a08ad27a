"""The attention bias of a grid that is known only when a model is called.

What is trained stays the variable: one table for one grid. For another grid it is resized by the
rule of `levit_tf.attention_bias.resize_attention_bias`, and spread over queries and keys by the
same index. Where a call knows its size, all that depends on the size alone is numpy's and kept from
one call to the next; where a graph is made for every size, the graph computes it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from keras import ops

from levit_tf.attention_bias import Grid, attention_bias_index, interpolation

Side = Any  # int, or a scalar integer tensor


def attention_bias_at(table, source: Grid, target: tuple[Side, Side], stride: int = 1):
    """The bias as it is added to the scores on a grid.

    Args:
      table: (heads, source height * source width) tensor, the trained table.
      source: (height, width) of the key grid that it was trained on.
      target: (height, width) of the key grid of the call.
      stride: see `levit_tf.attention_bias.attention_bias_index`.

    Returns:
      (heads, queries, keys), what `expand_attention_bias` returns of the resized table.
    """
    if _is_known(*target) and tuple(target) == tuple(source):
        return spread(table, target, target[1], stride)
    picture = ops.reshape(table, (table.shape[0], *source))  # (heads, h*w) -> (heads, h, w)
    rows, columns = (_weights(*sides) for sides in zip(source, target, strict=True))
    rows, columns = (ops.cast(x, table.dtype) for x in (rows, columns))
    # (H, h) x (heads, h, w) x (w, W) -> (heads, H, W)
    picture = ops.matmul(ops.matmul(rows, picture), ops.transpose(columns))
    flat = ops.reshape(picture, (table.shape[0], -1))  # (heads, H, W) -> (heads, H*W)
    return spread(flat, target, target[1], stride)


def spread(table, grid: tuple[Side, Side], table_width: Side, stride: int = 1):
    """A table over the queries and keys of a grid, which has no offset that the table lacks.

    Args:
      table: (heads, table height * table width) tensor.
      grid: (height, width) of the key grid.
      table_width: of the table, at least that of the grid.
      stride: see `levit_tf.attention_bias.attention_bias_index`.

    Returns:
      (heads, queries, keys).
    """
    if _is_known(*grid, table_width):
        return ops.take(table, _index(tuple(grid), stride, table_width), axis=1)
    dy, dx = (_offsets(side, stride) for side in grid)  # (queries, keys) of one direction
    index = (dy * table_width)[:, None, :, None] + dx[None, :, None, :]  # (qy, qx, ky, kx)
    queries, keys = ops.shape(dy)[0] * ops.shape(dx)[0], grid[0] * grid[1]
    return ops.take(table, ops.reshape(index, (queries, keys)), axis=1)


def _is_known(*sides: Side) -> bool:
    return all(isinstance(side, int) for side in sides)


# Two sizes of a network, of which each has five kinds of attention; a grid of 64x64 takes 64 MiB.
@functools.lru_cache(maxsize=10)
def _index(grid: Grid, stride: int, table_width: int) -> np.ndarray:
    if grid[1] == table_width:
        return attention_bias_index(grid, stride)
    within = attention_bias_index(grid, stride)
    return within // grid[1] * table_width + within % grid[1]


def _weights(source: int, target: Side):
    """(target, source) matrix of `levit_tf.attention_bias.interpolation`."""
    if _is_known(target):
        return _kept_interpolation(source, target)
    # Lower neighbour and remainder in whole numbers: a position in float32 would be off by 1e-6.
    steps = ops.maximum(target - 1, 1)
    scaled = ops.arange(target, dtype="int32") * (source - 1)
    lower = ops.minimum(scaled // steps, max(source - 2, 0))
    fraction = ops.cast(scaled - lower * steps, "float32") / ops.cast(steps, "float32")
    below = ops.one_hot(lower, source, dtype="float32")
    above = ops.one_hot(lower + 1, source, dtype="float32")
    return below * (1 - fraction)[:, None] + above * fraction[:, None]


@functools.lru_cache(maxsize=32)
def _kept_interpolation(source: int, target: int) -> np.ndarray:
    return interpolation(source, target).astype(np.float32)


def _offsets(side: Side, stride: int):
    """(queries, keys) distances between the tokens of a line."""
    keys = ops.arange(side, dtype="int32")
    return ops.abs(keys[::stride, None] - keys[None, :])
