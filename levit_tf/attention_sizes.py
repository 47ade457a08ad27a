"""The attention bias of a grid that is known only when a model is called.

What is trained stays the variable: one table for one grid. For another grid it is resized by the
rule of `levit_tf.attention_bias.resize_attention_bias`, and spread over queries and keys. Where a
call knows its size, all that depends on the size alone is numpy's and kept from one call to the
next; where a graph is made for every size, the graph computes it.
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
    heads = table.shape[0]
    picture = ops.reshape(table, (heads, *source))  # (heads, h*w) -> (heads, h, w)
    rows, columns = (_weights(*sides) for sides in zip(source, target, strict=True))
    rows, columns = (ops.cast(x, table.dtype) for x in (rows, columns))
    if _is_known(*target):
        # (H, h) x (heads, h, w) x (w, W) -> (heads, H, W)
        picture = ops.matmul(ops.matmul(rows, picture), ops.transpose(columns))
        flat = ops.reshape(picture, (heads, -1))  # (heads, H, W) -> (heads, H*W)
        return spread(flat, target, target[1], stride)
    # Looking up every entry by itself would take longer than all the rest. So the columns are
    # resized to all pairs of them at once, which is a product of small matrices, and rows of pairs
    # are copied whole.
    dy, dx = (_offsets(side, stride) for side in target)  # (queries, keys) of one direction
    pairs = ops.take(columns, ops.reshape(dx, (-1,)), axis=0)  # (qx*kx, w)
    x = ops.matmul(ops.matmul(rows, picture), ops.transpose(pairs))  # (heads, H, qx*kx)
    x = ops.take(x, ops.reshape(dy, (-1,)), axis=1)  # (heads, qy*ky, qx*kx)
    sides = (*ops.shape(dy), *ops.shape(dx))
    x = ops.transpose(ops.reshape(x, (heads, *sides)), (0, 1, 3, 2, 4))  # (heads, qy, qx, ky, kx)
    return ops.reshape(x, (heads, sides[0] * sides[2], sides[1] * sides[3]))


def spread(table, grid: Grid, table_width: int, stride: int = 1):
    """A table over the queries and keys of a grid, which has no offset that the table lacks.

    Args:
      table: (heads, table height * table width) tensor.
      grid: (height, width) of the key grid.
      table_width: of the table, at least that of the grid.
      stride: see `levit_tf.attention_bias.attention_bias_index`.

    Returns:
      (heads, queries, keys).
    """
    return ops.take(table, _index(tuple(grid), stride, table_width), axis=1)


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
    # In whole numbers up to the division: a position in float32 would be off by 1e-6. A source that
    # is less than one of its own steps away has what is left of that step as its weight.
    steps = ops.maximum(target - 1, 1)
    positions = ops.arange(target, dtype="int32") * (source - 1)
    distances = ops.abs(positions[:, None] - steps * np.arange(source, dtype=np.int32))
    weights = ops.cast(ops.maximum(steps - distances, 0), "float32")
    return weights / ops.cast(steps, "float32")


@functools.lru_cache(maxsize=32)
def _kept_interpolation(source: int, target: int) -> np.ndarray:
    return interpolation(source, target).astype(np.float32)


def _offsets(side: Side, stride: int):
    """(queries, keys) distances between the tokens of a line."""
    keys = ops.arange(side, dtype="int32")
    return ops.abs(keys[::stride, None] - keys[None, :])
