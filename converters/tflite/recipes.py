"""Implementations of the recipes of TFLite files."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from converters.tflite.quantization_ranges import Ranges
from converters.tflite.quantize import quantize_full_int8, quantize_mixed_int8
from converters.tflite.quantize_weights import convert_float16, quantize_dynamic_int8
from converters.tflite.tflite_graph import Graph
from converters.verification.verify_artefact import FLOAT32


class Recipe(NamedTuple):
    """Implementation of one of `converters.choices.RECIPES`.

    Attributes:
      make: function from (float32 graph, which may be changed; calibration pictures or None; known
        ranges or None; type of input and outputs; calibration method) to the final graph.
      tolerance: largest allowed difference from Keras, relative to the largest output; None if
        rounding alone makes the difference large.
    """

    make: Callable[[Graph, np.ndarray | None, Ranges | None, str, str], Graph]
    tolerance: float | None = None


RECIPES = {
    "fp32": Recipe(lambda graph, *_: graph, FLOAT32.tolerance),
    "fp16": Recipe(lambda graph, *_: convert_float16(graph), 1e-2),
    "dynamic": Recipe(lambda graph, *_: quantize_dynamic_int8(graph)),
    "int8": Recipe(
        lambda graph, images, ranges, _, method: quantize_mixed_int8(graph, images, ranges, method)
    ),
    "int8_full": Recipe(quantize_full_int8),
}
