"""Attention in windows: cuts a map into squares, each with its own attention, and rejoins them.

A window of 14x14 tokens has the size of the grid that a bias table was trained on. So the table is
used unchanged on a map of any size, and the cost grows with the area instead of its square. In
every second block the windows are shifted by half a window, so that they connect tokens which the
block before separated (Swin, arXiv 2103.14030). Windows that reach beyond the border of the map are
padded with zeros, and a mask hides the padding from all queries. No window is larger than the map.

Sides are integers, or scalar tensors if the size is known only when the graph is called.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

# Added to the score of a padding token. Its exp() is 0 in float32, and float16 can represent it.
MASKED = -1e4

Side = Any  # int, or a scalar integer tensor


class Cut(NamedTuple):
    """How one side of a map is cut into windows.

    Attributes:
      side: number of tokens of the map.
      size: number of tokens of a window.
      before: number of padding tokens before the first token.
      count: number of windows.
    """

    side: Side
    size: int
    before: Side
    count: Side

    @property
    def after(self) -> Side:
        """Number of padding tokens after the last token."""
        return self.count * self.size - self.before - self.side


def cut(side: Side, window: int, is_shifted: bool) -> Cut:
    """Cuts a side into windows.

    Args:
      side: number of tokens.
      window: largest size of a window; a side with no more tokens than this is one window.
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
    """Returns the cut of every `stride`-th token, for unshifted windows that `stride` divides."""
    side = (part.side + stride - 1) // stride
    return Cut(side, (part.size + stride - 1) // stride, part.before, part.count)


def to_windows(x, rows: Cut, columns: Cut):
    """(batch, height, width, channels) -> (batch * windows, rows.size, columns.size, channels)."""
    channels = x.shape[-1]
    x = _padded(_padded(x, 1, rows), 2, columns)
    # (batch, rows of windows * size, columns of windows * size, channels); columns and channels of
    # a window stay together, so that there are four dimensions and not six
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
    """Returns whether a window may need padding; True if the size is not known yet."""
    numbers = (rows.before, rows.after, columns.before, columns.after)
    return not all(isinstance(number, int) and number == 0 for number in numbers)


def key_mask(rows: Cut, columns: Cut):
    """Returns the mask to add to scores: (1, windows, 1, keys), 0 for map tokens, else `MASKED`.

    It is a numpy array if the size is known, else a tensor; float32.
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
      Scores of the same shape.
    """
    _, heads, queries, keys = scores.shape
    windows = mask.shape[1] or ops.shape(mask)[1]
    # (batch, windows, heads * queries, keys): each window has its own mask
    x = ops.reshape(scores, (-1, windows, heads * queries, keys))
    return ops.reshape(ops.add(x, mask), (-1, heads, queries, keys))


def _is_there(part: Cut):
    """Returns (count, size) integers: 1 for tokens of the map, 0 for padding."""
    if isinstance(part.count, int):
        place = np.arange(part.count * part.size) - part.before
        inside = (place >= 0) & (place < part.side)
        return inside.astype(np.int32).reshape(part.count, part.size)
    place = ops.arange(part.count * part.size, dtype="int32") - part.before
    inside = ops.cast((place >= 0) & (place < part.side), "int32")
    return ops.reshape(inside, (part.count, part.size))


def _padded(x, axis: int, part: Cut):
    """Pads both ends of an axis with zeros."""
    if isinstance(part.before, int) and isinstance(part.after, int):
        if not part.before and not part.after:
            return x
        widths = [(0, 0)] * 4
        widths[axis] = (part.before, part.after)
        return ops.pad(x, widths)
    # `ops.pad` takes integers only, not tensors.
    shape = list(ops.shape(x))
    ends = []
    for length in (part.before, part.after):
        shape[axis] = length
        ends.append(ops.zeros(shape, x.dtype))
    return ops.concatenate([ends[0], x, ends[1]], axis=axis)
