"""Attention in windows: a map cut into squares that attend to themselves, and put together again.

A window of 14x14 tokens is the grid that a table of attention biases was trained on, so the table
is used as it is on a map of any size, and the cost grows with the area instead of its square. Every
second block has its windows shifted by half a window, so that what one block cuts the next connects
(Swin, arXiv 2103.14030). Where windows reach over the border of the map they are filled with zeros,
and a mask keeps every query from them. No window is larger than the map.

Sides are numbers, or scalar tensors where a graph learns the size only when it is called.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

# What is added to the score of a token that is not there. exp() of it is 0 in float32, and float16
# still has it.
MASKED = -1e4

Side = Any  # int, or a scalar integer tensor


class Cut(NamedTuple):
    """How one side of a map is cut.

    Attributes:
      side: tokens of the map.
      size: tokens of a window.
      before: tokens that are filled in before the first.
      count: windows.
    """

    side: Side
    size: int
    before: Side
    count: Side

    @property
    def after(self) -> Side:
        """Tokens that are filled in behind the last."""
        return self.count * self.size - self.before - self.side


def cut(side: Side, window: int, is_shifted: bool) -> Cut:
    """Cuts a side into windows.

    Args:
      side: tokens.
      window: the largest size of a window; a side that has no more tokens than this is one window.
      is_shifted: whether the first window begins half a window before the map.
    """
    shift = window // 2 if is_shifted else 0
    if isinstance(side, int):
        window = min(window, side)
        before = shift if side > window else 0
    else:
        before = shift * ops.cast(side > window, side.dtype) if shift else 0
    return Cut(side, window, before, (side + before + window - 1) // window)


def subsampled(part: Cut, stride: int) -> Cut:
    """The cut of every `stride`-th token, for windows that are not shifted and divide by it."""
    side = (part.side + stride - 1) // stride
    return Cut(side, (part.size + stride - 1) // stride, part.before, part.count)


def to_windows(x, rows: Cut, columns: Cut):
    """(batch, height, width, channels) -> (batch * windows, rows.size, columns.size, channels)."""
    channels = x.shape[-1]
    x = _padded(_padded(x, 1, rows), 2, columns)
    # (batch, rows of windows * size, columns of windows * size, channels); rows and channels of a
    # window stay together, so that there are four dimensions and not six
    x = ops.reshape(x, (-1, rows.size, columns.count, columns.size * channels))
    x = ops.transpose(x, (0, 2, 1, 3))  # (batch * rows of windows, columns of windows, size, ...)
    return ops.reshape(x, (-1, rows.size, columns.size, channels))


def from_windows(x, rows: Cut, columns: Cut):
    """(batch * windows, rows.size, columns.size, channels) -> (batch, height, width, channels)."""
    channels = x.shape[-1]
    x = ops.reshape(x, (-1, columns.count, rows.size, columns.size * channels))
    x = ops.transpose(x, (0, 2, 1, 3))  # (batch * rows of windows, size, columns of windows, ...)
    x = ops.reshape(x, (-1, rows.count * rows.size, columns.count * columns.size, channels))
    if not has_filling(rows, columns):
        return x
    top, left = rows.before, columns.before
    return x[:, top : top + rows.side, left : left + columns.side]


def has_filling(rows: Cut, columns: Cut) -> bool:
    """Whether a window may reach over the border; True where the size is not known yet."""
    numbers = (rows.before, rows.after, columns.before, columns.after)
    return not all(isinstance(number, int) and number == 0 for number in numbers)


def key_mask(rows: Cut, columns: Cut):
    """What is added to scores: (1, windows, 1, keys), 0 for a token of the map, else `MASKED`.

    A numpy array where the size is known, else a tensor; float32.
    """
    there_y, there_x = (_is_there(part) for part in (rows, columns))
    # (rows of windows, 1, size, 1) and (1, columns of windows, 1, size)
    there = there_y[:, None, :, None] * there_x[None, :, None, :]
    shape = (1, rows.count * columns.count, 1, rows.size * columns.size)
    if isinstance(there, np.ndarray):
        return np.where(there, np.float32(0), np.float32(MASKED)).reshape(shape)
    return ops.reshape((1 - ops.cast(there, "float32")) * MASKED, shape)


def masked(scores: Any, mask: Any) -> Any:
    """Adds a mask to scores.

    Args:
      scores: (batch * windows, heads, queries, keys).
      mask: (1, windows, 1, keys), see `key_mask`.

    Returns:
      As `scores`.
    """
    _, heads, queries, keys = scores.shape
    windows = mask.shape[1] or ops.shape(mask)[1]
    # (batch, windows, heads * queries, keys): every window has a mask of its own
    x = ops.reshape(scores, (-1, windows, heads * queries, keys))
    return ops.reshape(ops.add(x, mask), (-1, heads, queries, keys))


def _is_there(part: Cut):
    """(count, size): whether a token of a window is one of the map; integers, to be multiplied."""
    if isinstance(part.count, int):
        place = np.arange(part.count * part.size) - part.before
        inside = (place >= 0) & (place < part.side)
        return inside.astype(np.int32).reshape(part.count, part.size)
    place = ops.arange(part.count * part.size, dtype="int32") - part.before
    inside = ops.cast((place >= 0) & (place < part.side), "int32")
    return ops.reshape(inside, (part.count, part.size))


def _padded(x, axis: int, part: Cut):
    """Fills in zeros on both ends of an axis."""
    if isinstance(part.before, int) and isinstance(part.after, int):
        if not part.before and not part.after:
            return x
        widths = [(0, 0)] * 4
        widths[axis] = (part.before, part.after)
        return ops.pad(x, widths)
    # `ops.pad` takes numbers only.
    shape = list(ops.shape(x))
    ends = []
    for length in (part.before, part.after):
        shape[axis] = length
        ends.append(ops.zeros(shape, x.dtype))
    return ops.concatenate([ends[0], x, ends[1]], axis=axis)
