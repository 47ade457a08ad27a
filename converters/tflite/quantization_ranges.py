"""Ranges of a network's tensors, from which a quantiser computes scales and zero points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from converters.tflite.integer_grid import SYMMETRIC_MIN
from converters.tflite.tflite_graph import LINEAR, Graph
from levit_common.shipped_names import INPUT, SIGNATURE

# Name of a tensor -> {"min", "max"}: float32 arrays with the values of the smallest and the largest
# integer. They have one value for an activation, and one per output channel for a kernel. For
# kernels that are not named, the largest absolute value of each channel is used.
Ranges = Mapping[str, Mapping[str, np.ndarray]]

# In steps: leaves room in int32 for the products that are added to a bias.
LARGEST_BIAS = 2**30
# Steps in the range of an activation, and on either side of 0 in that of a kernel.
_STEPS, _HALF = 255, 127


def calibrate(content: bytes, recipe, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Measures the smallest and largest values of the tensors that a recipe quantises.

    They are extremes over all pictures. The quantiser's own default, a moving average over
    pictures, clips values that only occur in some pictures; its result differs three times more
    from the float network.

    Args:
      content: a float32 file.
      recipe: a `RecipeManager` of ai-edge-quantizer.
      images: pictures (n, height, width, 3), RGB 0..255.
    """
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    calibration = calibrator.Calibrator(content, qsv_update_func=qsv_utils.min_max_update)
    batches = [{INPUT: image[None].astype(np.float32)} for image in images]
    calibration.calibrate({SIGNATURE: batches}, recipe)
    return calibration.get_model_qsvs()


def combine(
    graph: Graph, calibrated: Ranges, given: Ranges, symmetric: Iterable[str] = ()
) -> dict[str, dict[str, np.ndarray]]:
    """Combines ranges for a quantiser: consistent along the graph, and in the form it expects.

    Ops that pad, reshape or transpose pass on integers, so all tensors in such a chain have the
    range of the first.

    Args:
      graph: graph of the file to quantise.
      calibrated: ranges measured on pictures; may be empty.
      given: known ranges, which have priority over the calibrated ones.
      symmetric: tensors whose zero point must be 0; their ranges are widened if necessary.

    Raises:
      ValueError: a given range belongs to no tensor in the file, or has a wrong shape.
    """
    ranges = {name: dict(values) for name, values in calibrated.items()}
    first = graph.first_of_chain()
    # The first tensor of each chain comes last, so that its range overwrites the others.
    for name in sorted(given, key=lambda name: first.get(name, name) == name):
        if name not in graph.tensors:
            raise ValueError(f"ranges: the file has no tensor {name!r}.")
        ranges[first.get(name, name)] = _checked(name, given[name], graph)
    for name in {first.get(name, name) for name in symmetric} & set(ranges):
        ranges[name] = _symmetric(ranges[name])
    for name, start in first.items():
        if start in ranges:
            ranges[name] = {
                end: np.reshape(value, (1,) * len(graph.tensors[name].shape))
                for end, value in ranges[start].items()
                if end in ("min", "max")
            }
    return ranges


def with_room_for_biases(graph: Graph, ranges: Ranges) -> Ranges:
    """Widens the ranges of kernels so near to zero that their biases would not fit into int32.

    A bias counts in steps of its kernel times those of the input, and the quantiser lets it wrap
    around. Training leaves such filters behind: weight decay takes the kernel to 0, and the bias
    alone remains.

    Args:
      graph: the float32 graph.
      ranges: ranges of its tensors.

    Returns:
      `ranges`, with those of such kernels.
    """
    wider = dict(ranges)
    for operator in graph.operators:
        source, *constants = graph.inputs_of(operator)
        if graph.kind(operator) not in LINEAR or len(constants) < 2 or source not in ranges:
            continue
        kernel, bias = constants
        step = np.ptp([np.squeeze(ranges[source][end]) for end in ("min", "max")]) / _STEPS
        if not step or not all(map(graph.is_constant, constants)):
            continue
        values = graph.constant(kernel)
        high = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        # (filters,) -> (filters, 1, ..)
        least = (np.abs(graph.constant(bias)) / (LARGEST_BIAS * step) * _HALF).reshape(high.shape)
        if kernel in wider:
            high = np.maximum(np.abs(wider[kernel]["min"]), wider[kernel]["max"])
        if (least > high).any():
            high = np.maximum(high, least).astype(np.float32)
            wider[kernel] = {"min": -high, "max": high}
    return wider


def _checked(name: str, values: Mapping[str, np.ndarray], graph: Graph) -> dict[str, np.ndarray]:
    tensor = graph.tensors[name]
    shape = list(tensor.shape)
    channels = (shape[0], *[1] * (len(shape) - 1)) if graph.is_constant(name) else None
    checked = {}
    for end in ("min", "max"):
        # Not Python floats, because the quantiser would compute other scales with them.
        value = np.asarray(values[end], np.float32)
        if channels and value.size == shape[0]:
            checked[end] = value.reshape(channels)
        elif value.size == 1:
            checked[end] = value.reshape([1] * len(shape))
        else:
            raise ValueError(
                f"ranges: {name!r} has shape {tuple(shape)}; its {end} must be one value"
                f"{f' or {shape[0]}' if channels else ''}. Received: shape {value.shape}"
            )
    return checked


def _symmetric(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    high = np.maximum(values["max"], values["min"] / SYMMETRIC_MIN)
    return {"min": high * SYMMETRIC_MIN, "max": high}
