"""Ranges of activations from their histograms, whose size does not grow with the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from converters.tflite.integer_grid import SYMMETRIC_MIN, rounded
from converters.tflite.tapped_network import TappedNetwork

_BINS = 2048
# Of all values, the share that is kept at either end.
PERCENTILE = 0.9999
# Ends of ranges that are tried, as parts of the smallest and of the largest value.
CLIPS = np.linspace(0.3, 1, 29, dtype=np.float32)

Range = tuple[float, float]


class Histogram(NamedTuple):
    """How often a tensor has which values.

    Attributes:
      counts: (bins,).
      edges: (bins + 1,), from the smallest value to the largest.
    """

    counts: np.ndarray
    edges: np.ndarray


def collect_histograms(
    network: TappedNetwork, measured: Mapping[str, Range], images: Iterable[np.ndarray]
) -> dict[str, Histogram]:
    """Runs pictures through a network and counts the values of tensors.

    Args:
      network: of float32.
      measured: tensor -> smallest and largest value on the same pictures.
      images: each (height, width, 3), RGB 0..255.
    """
    found = {
        name: Histogram(np.zeros(_BINS, np.int64), np.linspace(low, high, _BINS + 1))
        for name, (low, high) in measured.items()
        if high > low
    }
    for image in images:
        network.run(image)
        for name, (counts, edges) in found.items():
            counts += np.histogram(network[name], edges)[0]
    return found


def percentile_range(histogram: Histogram) -> Range:
    """The range that leaves out one value in 10,000 at either end, as far as bins tell."""
    counts, edges = histogram
    below = np.cumsum(counts) / counts.sum()
    above = np.cumsum(counts[::-1]) / counts.sum()
    low = edges[np.argmax(below > 1 - PERCENTILE)]
    high = edges[::-1][np.argmax(above > 1 - PERCENTILE)]
    return float(min(low, 0)), float(max(high, 0))


def least_error_range(
    histogram: Histogram,
    symmetric: bool = False,
    function: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Range:
    """The range with the least mean squared error, of a grid of `CLIPS` at either end.

    Args:
      histogram: of the tensor.
      symmetric: whether the zero point must be 0.
      function: what alone reads the tensor, elementwise; errors are those of its result. What
        hard-swish makes 0 needs no integers of its own.
    """
    filled = histogram.counts > 0
    middles = (histogram.edges[1:] + histogram.edges[:-1])[filled].astype(np.float32) / 2
    weights = histogram.counts[filled] / histogram.counts.sum()
    expected = function(middles) if function else middles
    low, high = histogram.edges[0], histogram.edges[-1]
    if symmetric:
        highs = CLIPS * max(high, low / SYMMETRIC_MIN)
        pairs = np.stack([highs * SYMMETRIC_MIN, highs], axis=1)[:, np.newaxis]
    else:
        ends = np.unique(CLIPS * min(low, 0)), np.unique(CLIPS * max(high, 0))
        pairs = np.stack(np.meshgrid(*ends, indexing="ij"), axis=2)
    best, least = None, np.inf
    for some in pairs:  # (pairs, 2), so that not all of them are in memory at once
        found = rounded(middles, some[:, :1], some[:, 1:])
        errors = np.square((function(found) if function else found) - expected) @ weights
        if errors.min() < least:
            best, least = some[errors.argmin()], errors.min()
    return float(best[0]), float(best[1])


def hard_swish(x: np.ndarray) -> np.ndarray:
    """x relu6(x + 3) / 6."""
    return x * np.clip(x + 3, 0, 6) / 6
