"""The named ways to make a TFLite file."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from converters import choices
from converters.tflite.quantization_ranges import Ranges
from converters.tflite.quantize import quantize_full_int8, quantize_mixed_int8
from converters.tflite.quantize_weights import convert_float16, quantize_dynamic_int8
from converters.tflite.tflite_graph import Graph
from converters.verification.verify_artefact import FLOAT32


class Recipe(NamedTuple):
    """One way to make a TFLite file.

    Attributes:
      description, calibrated, io_dtypes: see `converters.choices.RecipeChoice`.
      make: (float32 graph, which may be changed, calibration pictures or None, known ranges or
        None, type of input and outputs) -> graph.
      tolerance: largest difference from Keras, relative to the largest output; None where
        rounding alone makes it large.
    """

    description: str
    calibrated: bool
    io_dtypes: tuple[str, ...]
    make: Callable[[Graph, np.ndarray | None, Ranges | None, str], Graph]
    tolerance: float | None = None


_WAYS = {
    "fp32": (lambda graph, *_: graph, FLOAT32.tolerance),
    "fp16": (lambda graph, *_: convert_float16(graph), 1e-2),
    "dynamic": (lambda graph, *_: quantize_dynamic_int8(graph),),
    "int8": (lambda graph, images, ranges, _: quantize_mixed_int8(graph, images, ranges),),
    "int8_full": (quantize_full_int8,),
}
RECIPES = {name: Recipe(*choice, *_WAYS[name]) for name, choice in choices.RECIPES.items()}
