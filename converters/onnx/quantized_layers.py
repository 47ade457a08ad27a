"""Reads integers, scales and zero points of the layers from an int8 TFLite file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from converters.tflite.integer_grid import Grid, grid_of, integers_of, scales_of
from converters.tflite.tflite_graph import LINEAR, Graph


class QuantizedLayer(NamedTuple):
    """A convolution or dense layer in int8.

    Attributes:
      input: grid of its input.
      output: grid of its output; None if the output is float.
      kernel: int8, (filters, height, width, channels) or (filters, channels).
      scales: float32 (filters,), scales of the kernel.
      bias: int32 (filters,), with the scale input scale * kernel scale; never all zeros.
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
      names: names of the layers with kernels in the original Keras model.

    Returns:
      Layers by name, without layers that are called more than once, as each call has its own
      ranges.
    """
    found, several = {}, set()
    for operator in graph.operators:
        if graph.kind(operator) not in LINEAR:
            continue
        inputs, (output,) = graph.inputs_of(operator), graph.outputs_of(operator)
        source = grid_of(graph, inputs[0])
        scales = scales_of(graph, inputs[1])
        layer = next(_layers_in(";".join((*inputs[1:], output)), names), None)
        if source is None or scales is None or layer is None:
            continue
        if layer in found:
            several.add(layer)
        kernel = integers_of(graph, inputs[1], np.int8)
        bias = np.zeros(len(kernel), np.int32)  # the file may omit a bias of zeros
        if len(inputs) > 2:
            bias = integers_of(graph, inputs[2], np.int32)
        if not bias.any():
            # This is the case for keys. Without a bias, OpenVINO (2026.4, open batch) moves the
            # scales of channels after the reshape to heads, and applies them to tokens if there are
            # as many tokens as channels. A bias of one step, the smallest possible, prevents this.
            # For keys it has no effect: it adds the same number to all scores of a query.
            bias = np.ones_like(bias)
        found[layer] = QuantizedLayer(source, grid_of(graph, output), kernel, scales, bias)
    return {name: layer for name, layer in found.items() if name not in several}


def _layers_in(tensors: str, names: Collection[str]) -> Iterator[str]:
    """Yields layers in names such as `deploy_1/LeViT256_1/stem_conv1_1/convolution;deploy_1/..`."""
    for part in re.split("[/;]", tensors):
        for name in (part, re.sub(r"_\d+$", "", part)):  # TensorFlow numbers repeated scopes
            if name in names:
                yield name
