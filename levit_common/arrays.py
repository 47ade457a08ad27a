"""Calculations with numpy that all packages need; the other modules here do without numpy."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis; float32, or float64 of such logits."""
    logits = logits.astype(np.result_type(logits, np.float32))
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def top1_of(probabilities: np.ndarray) -> np.ndarray:
    """(n, classes) -> (n,) the class of each; a single probability says yes, 1, or no, 0."""
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > 0.5).astype(np.int64)
    return probabilities.argmax(axis=1)


def spread_indices(size: int, count: int | None) -> np.ndarray:
    """At most `count` indices below `size`, evenly spread, both ends included; None: all of them.

    Returns:
      (n,) int64 in rising order, none of them twice.
    """
    wanted = size if count is None else min(count, size)
    return np.unique(np.linspace(0, size - 1, wanted).astype(np.int64))


def standard_error(share: float, count: int) -> float:
    """Standard error of a share, 0..1, that was counted on so many independent pictures."""
    return float(np.sqrt(share * (1 - share) / count))
