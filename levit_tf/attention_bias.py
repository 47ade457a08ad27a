"""The attention bias: LeViT's position encoding (paper, section 4.2, "Attention bias").

Each head learns one scalar for every distinct offset (|dy|, |dx|) between a query and a key; it is
added to the attention scores, so attention is translation-invariant and symmetric under flips. On a
key grid of height x width the offsets are exactly 0..height-1 by 0..width-1, so the table of a head
is itself a small (height, width) picture, stored flat in row-major order: offset (|dy|, |dx|) is
entry |dy| * width + |dx|. This is also the order in which the official code numbers its offsets and
the one timm computes. Tokens are row-major too, non-square grids included.

Pure numpy: nothing here depends on a backend.
"""

from __future__ import annotations

import numpy as np

Grid = tuple[int, int]


def attention_bias_index(grid: Grid, stride: int = 1) -> np.ndarray:
    """Returns the index into the bias table for each (query, key) pair of tokens.

    `table[:, attention_bias_index(grid)]`, of shape (heads, queries, keys), is added to the scores.

    Args:
      grid: (height, width) of the key grid in tokens.
      stride: the queries are every `stride`-th token in each direction, beginning with the first;
        query (y, x) sits at (stride * y, stride * x) of the key grid. It is 2 in subsampling
        attention.

    Returns:
      int32 array of shape (queries, keys), values in [0, height * width).
    """
    rows, columns = np.indices(grid, dtype=np.int32)
    key_y, key_x = rows.ravel(), columns.ravel()
    query_y, query_x = rows[::stride, ::stride].ravel(), columns[::stride, ::stride].ravel()
    offset_y = np.abs(query_y[:, None] - key_y[None, :])
    offset_x = np.abs(query_x[:, None] - key_x[None, :])
    return offset_y * grid[1] + offset_x


def resize_attention_bias(table: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Resizes a bias table to another grid, for inputs of another size.

    The table of each head is a picture over (|dy|, |dx|). It is resized bilinearly with aligned
    corners, because offset zero must stay offset zero, and the farthest offset the farthest.

    Args:
      table: (heads, source height * source width).
      source: (height, width) of the key grid that the table was trained on.
      target: (height, width) of the wanted key grid.

    Returns:
      Array of shape (heads, target height * target width); equal to `table` if the grids are equal.

    Raises:
      ValueError: `table` does not fit `source`.
    """
    heads = table.shape[0]
    if table.shape != (heads, source[0] * source[1]):
        raise ValueError(
            f"An attention bias table for a {source[0]}x{source[1]} grid has shape (heads, "
            f"{source[0] * source[1]}). Received: {table.shape}"
        )
    rows = interpolation(source[0], target[0])
    columns = interpolation(source[1], target[1])
    picture = table.reshape(heads, *source)  # (heads, h*w) -> (heads, h, w)
    resized = np.einsum("ab,hbd,cd->hac", rows, picture, columns)
    return resized.reshape(heads, -1).astype(table.dtype)  # (heads, H, W) -> (heads, H*W)


def interpolation(source: int, target: int) -> np.ndarray:
    """Returns the (target, source) matrix of linear interpolation with aligned corners."""
    position = np.linspace(0, source - 1, target) if target > 1 else np.zeros(1)
    lower = np.minimum(position.astype(int), max(source - 2, 0))
    fraction = position - lower
    matrix = np.zeros((target, source))
    matrix[np.arange(target), lower] = 1 - fraction
    if source > 1:
        matrix[np.arange(target), lower + 1] = fraction
    return matrix
