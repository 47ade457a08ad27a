"""Learned ranges, by layers of the network, as ranges of tensors in its TFLite file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from converters.deploy import NORMALIZE
from converters.tflite.quantization_ranges import Ranges
from converters.tflite.tflite_graph import LINEAR, Graph

# Operations of Keras that are no layers: TensorFlow's names, which it numbers, and the twin's.
_OPERATIONS = {"MatMul": "matmul", "Add": "add"}
# That of its integer kernel, for the last one of a network, which is not in the twin.
_SOFTMAX = {"min": np.float32(0), "max": np.float32(255 / 256)}
_WITH_KERNEL = (*LINEAR, "DEPTHWISE_CONV_2D")
_ACTIVATIONS = ("HARD_SWISH", "LOGISTIC", "MUL")


def tensor_ranges(graph: Graph, ranges: Mapping[str, tuple[float, float]]) -> Ranges:
    """Finds the tensors that the outputs of a network's layers have become.

    Args:
      graph: of TFLite and float32, made from a deploy graph.
      ranges: by names of layers of the graph's twin (`converters.qat.twin`).

    Returns:
      Ranges for `converters.tflite.quantize`, by names of tensors in `graph`.
    """
    passed_on = graph.first_of_chain()
    found = {}
    for operator in graph.operators:
        (output, *_) = graph.outputs_of(operator)
        if output in passed_on:
            continue
        # An output of the whole network has no layer in its name, but its kernel has.
        constants = [
            name
            for name in graph.inputs_of(operator)
            if graph.kind(operator) in _WITH_KERNEL and graph.is_constant(name)
        ]
        layers = (_layer_of(name, graph.kind(operator), ranges) for name in (output, *constants))
        layer = next(filter(None, layers), None)
        if layer is not None:
            low, high = np.float32(ranges[layer])
            found[output] = {"min": low, "max": high}
        elif graph.kind(operator) == "SOFTMAX":
            found[output] = _SOFTMAX
    return found


def activation_name(layer: str) -> str:
    """Name of the layer with the activation that another one has built in."""
    return f"{layer}_activation"


def partial_sum_name(total: str, number: int) -> str:
    """Name of the layer that adds the first `number` + 2 terms of a longer sum."""
    return f"{total}_partial_{number}"


def gate_name(activation: str) -> str:
    """Name of the layer with the gate of an activation layer."""
    return f"{activation}_gate"


def _layer_of(tensor: str, kind: str, layers: Collection[str]) -> str | None:
    """The layer in names such as `deploy_1/LeViT256_1/stem_conv1_1/BiasAdd;deploy_1/...`."""
    for part in re.split("[/;]", tensor):
        # TensorFlow numbers scopes that it meets again.
        for name in (part, re.sub(r"_\d+$", "", part)):
            if kind in _ACTIVATIONS and activation_name(name) in layers:
                name = activation_name(name)
            if kind == "LOGISTIC":
                name = gate_name(name)
            elif kind == "ADD" and (number := re.search(r"/Add(?:_(\d+))?$", tensor)):
                partial = partial_sum_name(name, int(number[1] or 0))
                name = partial if partial in layers else name
            elif kind == "MUL" and name == NORMALIZE:
                return None  # only half of the layer
            if name in layers:
                return name
    operation = re.fullmatch(r"(.*/)?([A-Za-z]+?)(?:_(\d+))?", tensor)
    if operation and operation[2] in _OPERATIONS:
        candidate = f"{_OPERATIONS[operation[2]]}_{operation[3] or 0}"
        return candidate if candidate in layers else None
    return None
