"""The named ways to choose the ranges of activations from calibration pictures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from converters.tflite.histogram_ranges import (
    Range,
    collect_histograms,
    hard_swish,
    least_error_range,
    percentile_range,
)
from converters.tflite.quantization_ranges import Ranges, calibrate
from converters.tflite.similar_ranges import most_similar_ranges
from converters.tflite.tapped_network import TappedNetwork
from converters.tflite.tflite_graph import Graph
from levit_common.arrays import spread_indices

# Number of pictures for "similarity", whose search takes the time of ten inferences per picture.
_SIMILARITY_IMAGES = 32


def measure_ranges(
    graph: Graph, recipe, images: np.ndarray, method: str, symmetric: Iterable[str] = ()
) -> Ranges:
    """Measures the ranges of the tensors that a recipe quantises.

    Args:
      graph: a float32 graph.
      recipe: a `RecipeManager` of ai-edge-quantizer.
      images: (n, height, width, 3), RGB 0..255.
      method: one of `converters.choices.CALIBRATION_METHODS`.
      symmetric: tensors whose zero point must be 0.
    """
    content = graph.content()
    extremes = calibrate(content, recipe, images)
    if method == "min_max":
        return extremes
    network = TappedNetwork(content)
    measured = _measured(graph, extremes)
    first = graph.first_of_chain()
    symmetric = {first.get(name, name) for name in symmetric}
    histograms = collect_histograms(network, measured, images)
    if method == "percentile":
        chosen = {name: percentile_range(h) for name, h in histograms.items()}
    else:
        chosen = {
            name: least_error_range(h, name in symmetric, _only_reader(graph, name))
            for name, h in histograms.items()
        }
    if method == "similarity":
        some = images[spread_indices(len(images), _SIMILARITY_IMAGES)]
        chosen |= most_similar_ranges(graph, network, chosen, measured, some, symmetric)
    ranges = dict(extremes)
    ends = {first.get(name, name): np.float32(ends) for name, ends in chosen.items()}
    for name in extremes:
        if (start := first.get(name, name)) in ends:
            low, high = ends[start]
            ranges[name] = {"min": low, "max": high}
    return ranges


def _measured(graph: Graph, extremes: Ranges) -> dict[str, Range]:
    """Returns the smallest and largest value of each tensor whose range must be chosen.

    Of a chain of ops that pass on values, only one tensor is included. The range of a softmax is
    fixed by its integers, and that of the pictures is known.
    """
    fixed = {graph.outputs_of(op)[0] for op in graph.operators if graph.kind(op) == "SOFTMAX"}
    fixed |= set(graph.inputs())
    first, seen, found = graph.first_of_chain(), set(), {}
    for name in graph.tensors:
        start = first.get(name, name)
        if name in extremes and start not in fixed | seen:
            seen.add(start)
            low, high = (float(np.squeeze(extremes[name][end])) for end in ("min", "max"))
            found[name] = (low, high)
    return found


def _only_reader(graph: Graph, name: str):
    """Returns hard-swish if it is the only reader of a tensor, else None."""
    readers = [graph.kind(operator) for operator in graph.consumers(name)]
    return hard_swish if set(readers) == {"HARD_SWISH"} else None
