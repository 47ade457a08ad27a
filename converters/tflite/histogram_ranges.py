"""Chooses ranges of activations from histograms, whose size is independent of the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from converters.tflite.integer_grid import SYMMETRIC_MIN, rounded
from converters.tflite.tapped_network import TappedNetwork

_BINS = 2048
# Share of all values below the upper end of the range, and above its lower end.
PERCENTILE = 0.9999
# Ends of ranges to try, relative to the smallest and to the largest value.
CLIPS = np.linspace(0.3, 1, 29, dtype=np.float32)

Range = tuple[float, float]


class Histogram(NamedTuple):
    """Histogram of the values of a tensor.

    Attributes:
      counts: (bins,), numbers of values.
      edges: (bins + 1,), edges of the bins, from the smallest value to the largest.
    """

    counts: np.ndarray
    edges: np.ndarray


def collect_histograms(
    network: TappedNetwork, measured: Mapping[str, Range], images: Iterable[np.ndarray]
) -> dict[str, Histogram]:
    """Runs pictures through a network and counts the values of tensors.

    Args:
      network: a float32 network.
      measured: tensor -> smallest and largest value on the same pictures.
      images: pictures (height, width, 3), RGB 0..255.
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
    """Returns the range without the outermost 0.01 % of the values at either end, up to one bin."""
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
    """Returns the range with the lowest mean squared error, from a grid of `CLIPS` at either end.

    Args:
      histogram: histogram of the tensor.
      symmetric: whether the zero point must be 0.
      function: elementwise function that is the only reader of the tensor; then the error of its
        result counts. For example, values that hard-swish maps to 0 need no separate integers.
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
    for some in pairs:  # parts of (pairs, 2), to limit the memory
        found = rounded(middles, some[:, :1], some[:, 1:])
        errors = np.square((function(found) if function else found) - expected) @ weights
        if errors.min() < least:
            best, least = some[errors.argmin()], errors.min()
    return float(best[0]), float(best[1])


def hard_swish(x: np.ndarray) -> np.ndarray:
    """Returns x * relu6(x + 3) / 6."""
    return x * np.clip(x + 3, 0, 6) / 6
