"""Rewrites the normalisation of pixels into a form that CPUs run fast.

With MUL and ADD by three constants, one per colour, XNNPACK processes every pixel separately, which
takes 5 % of the time of a float LeViT-256 and 7 % of a mixed int8 one. Over whole rows, as a 1x1
depthwise convolution with one channel per column and colour, the cost is too small to measure.
"""

from __future__ import annotations

import numpy as np

from converters.tflite.tflite_graph import Graph

_VALID = 1  # value in the schema's Padding
ROWS_SUFFIX = "/rows"


def normalize_rows(graph: Graph) -> None:
    """Replaces MUL and ADD of the input by a depthwise convolution over its rows.

    Args:
      graph: a float32 graph with input (batch, height, width, channels). It is changed, but
        computes the same, and its tensors keep their names. If the input is not normalised by a MUL
        and an ADD, or not any more, nothing is changed.
    """
    (pixels,) = graph.inputs()
    pair = _multiplication_and_addition(graph, pixels)
    if pair is None:
        return
    mul, add = pair
    (output,) = graph.outputs_of(add)
    scale, offset = (graph.constant(graph.inputs_of(operator)[1]) for operator in pair)
    batch, height, width, channels = graph.tensors[pixels].shape
    rows = [batch, height, 1, width * channels]
    # (channels,) -> (1, 1, 1, width * channels) and (width * channels,)
    kernel = np.tile(scale.reshape(channels), width).reshape(1, 1, 1, -1)
    bias = np.tile(offset.reshape(channels), width)

    inputs = [
        graph.add_activation(f"{pixels}{ROWS_SUFFIX}", rows),
        graph.add_constant(f"{output}/scale", kernel),
        graph.add_constant(f"{output}/offset", bias),
    ]
    normalized = graph.add_activation(f"{output}{ROWS_SUFFIX}", rows)
    options = {"padding": _VALID, "strideW": 1, "strideH": 1, "depthMultiplier": 1}
    place = graph.operators.index(mul)
    graph.operators.remove(add)
    graph.operators[place : place + 1] = [
        graph.reshape(mul.inputs[0], inputs[0]),
        graph.operator("DEPTHWISE_CONV_2D", inputs, [normalized], **options),
        graph.reshape(normalized, add.outputs[0]),
    ]


def _multiplication_and_addition(graph: Graph, pixels: str):
    """Returns the ops MUL and ADD that normalise the input; None if there are none."""
    found, name = [], pixels
    for kind in ("MUL", "ADD"):
        consumers = list(graph.consumers(name))
        if len(consumers) != 1 or graph.kind(consumers[0]) != kind:
            return None
        constant = graph.constant(graph.inputs_of(consumers[0])[1])
        if constant is None or constant.size != graph.tensors[pixels].shape[-1]:
            return None
        found.append(consumers[0])
        (name,) = graph.outputs_of(consumers[0])
    return found
