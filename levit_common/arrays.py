"""Numpy functions that all packages share; the other modules in this package do not need numpy."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis: float64 for float64 logits, else float32."""
    logits = logits.astype(np.result_type(logits, np.float32))
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def luma(images: np.ndarray) -> np.ndarray:
    """Returns the brightness of RGB pictures as Pillow's mode "L" has it, but not rounded.

    Args:
      images: (..., 3) of any type, in any range.

    Returns:
      float32 (..., 1).
    """
    return images.astype(np.float32) @ np.float32([[0.299], [0.587], [0.114]])


def top1_of(probabilities: np.ndarray) -> np.ndarray:
    """Returns the most probable class of each row: (n, classes) -> (n,).

    With a single column, which holds the probability of class 1, the classes are 0 and 1.
    """
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > 0.5).astype(np.int64)
    return probabilities.argmax(axis=1)


def spread_indices(size: int, count: int | None) -> np.ndarray:
    """Returns up to `count` evenly spaced indices below `size`, both ends included; None for all.

    Returns:
      (n,) int64 in increasing order without duplicates.
    """
    wanted = size if count is None else min(count, size)
    return np.unique(np.linspace(0, size - 1, wanted).astype(np.int64))


def standard_error(share: float, count: int) -> float:
    """Returns the standard error of a share, 0..1, measured on `count` independent pictures."""
    return float(np.sqrt(share * (1 - share) / count))
