"""What the int8 TFLite file of a network says of its layers: integers, scales and zero points."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from converters.tflite.tflite_graph import Graph

_LINEAR = ("CONV_2D", "FULLY_CONNECTED")


class Grid(NamedTuple):
    """The numbers that the integers of an activation stand for: (integer - zero_point) * scale.

    Attributes:
      scale: of one step.
      zero_point: of int8.
    """

    scale: float
    zero_point: int


class QuantizedLayer(NamedTuple):
    """A convolution or dense layer in int8.

    Attributes:
      input: the grid of what it reads.
      output: the grid of what it returns; None where that is float.
      kernel: int8, (filters, height, width, channels) or (filters, channels).
      scales: float32 (filters,), the steps of the kernel.
      bias: int32 (filters,), in steps of the input's scale times the kernel's; never all zeros.
    """

    input: Grid
    output: Grid | None
    kernel: np.ndarray
    scales: np.ndarray
    bias: np.ndarray


def quantized_layers(graph: Graph, names: Collection[str]) -> dict[str, QuantizedLayer]:
    """Finds the int8 layers of a TFLite file.

    Args:
      graph: a result of `converters.tflite.quantize.quantize_mixed_int8`.
      names: the layers with kernels of the Keras model that it was made from.

    Returns:
      By names of layers; without those that are called more than once, each with its own ranges.
    """
    found, several = {}, set()
    for operator in graph.operators:
        if graph.kind(operator) not in _LINEAR:
            continue
        inputs, (output,) = graph.inputs_of(operator), graph.outputs_of(operator)
        source = _grid(graph, inputs[0])
        scales = _scales(graph, inputs[1])
        layer = next(_layers_in(";".join((*inputs[1:], output)), names), None)
        if source is None or scales is None or layer is None:
            continue
        if layer in found:
            several.add(layer)
        kernel = _values(graph, inputs[1], np.int8)
        bias = np.zeros(len(kernel), np.int32)  # one of zeros may be left out
        if len(inputs) > 2:
            bias = _values(graph, inputs[2], np.int32)
        if not bias.any():
            # As of keys. Without a bias, OpenVINO (2026.4, open batch) moves the scales of channels
            # behind the reshape to heads, and applies them to tokens where there are as many of
            # these. One step, the smallest there is, keeps it from that; of keys it changes
            # nothing: the same number is added to all scores of a query.
            bias = np.ones_like(bias)
        found[layer] = QuantizedLayer(source, _grid(graph, output), kernel, scales, bias)
    return {name: layer for name, layer in found.items() if name not in several}


def _layers_in(tensors: str, names: Collection[str]) -> Iterator[str]:
    """Layers in names such as `deploy_1/LeViT256_1/stem_conv1_1/convolution;deploy_1/...`."""
    for part in re.split("[/;]", tensors):
        for name in (part, re.sub(r"_\d+$", "", part)):  # TensorFlow numbers repeated scopes
            if name in names:
                yield name


def _grid(graph: Graph, name: str) -> Grid | None:
    quantization = graph.tensors[name].quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    return Grid(np.float32(quantization.scale[0]), int(quantization.zeroPoint[0]))


def _scales(graph: Graph, name: str) -> np.ndarray | None:
    """One scale for each filter; None for what is not quantised."""
    tensor = graph.tensors[name]
    if tensor.quantization is None or tensor.quantization.scale is None:
        return None
    scales = np.asarray(tensor.quantization.scale, np.float32)
    return np.broadcast_to(scales, tensor.shape[:1]).copy()


def _values(graph: Graph, name: str, dtype: type) -> np.ndarray:
    tensor = graph.tensors[name]
    data = memoryview(graph.model.buffers[tensor.buffer].data)
    return np.frombuffer(data, dtype).reshape(tensor.shape)
