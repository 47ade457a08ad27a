"""The named ways to make a TFLite file."""

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
    """One way to make a TFLite file.

    Attributes:
      description: what is in the file.
      make: (float32 graph, which may be changed, calibration pictures or None, known ranges or
        None, type of input and outputs) -> graph.
      calibrated: whether it needs calibration pictures.
      io_dtypes: types that the input and the outputs can have, the usual one first.
      tolerance: largest difference from Keras, relative to the largest output; None where
        rounding alone makes it large.
    """

    description: str
    make: Callable[[Graph, np.ndarray | None, Ranges | None, str], Graph]
    calibrated: bool = False
    io_dtypes: tuple[str, ...] = ("float32",)
    tolerance: float | None = None


RECIPES = {
    "fp32": Recipe("float32 throughout", lambda graph, *_: graph, tolerance=FLOAT32.tolerance),
    "fp16": Recipe(
        "float16 weights, computed in float16 where the CPU can and in float32 elsewhere",
        lambda graph, *_: convert_float16(graph),
        tolerance=1e-2,
    ),
    "dynamic": Recipe(
        "int8 weights, per channel; activations in float32, quantised as they come",
        lambda graph, *_: quantize_dynamic_int8(graph),
    ),
    "int8": Recipe(
        "int8 convolutions and dense layers, per channel; attention core in float32; float32 "
        "input and outputs; the fastest on CPUs",
        lambda graph, images, ranges, _: quantize_mixed_int8(graph, images, ranges),
        calibrated=True,
    ),
    "int8_full": Recipe(
        "int8 in every op, integer input and outputs, for accelerators that have no floats",
        quantize_full_int8,
        calibrated=True,
        io_dtypes=("uint8", "int8"),
    ),
}


def recipe_by_name(name: str) -> Recipe:
    """Looks up a recipe.

    Raises:
      ValueError: there is none of this name; the message lists all.
    """
    if name not in RECIPES:
        known = "\n".join(f"  {key}: {recipe.description}" for key, recipe in RECIPES.items())
        raise ValueError(f"Unknown recipe {name!r}. Known:\n{known}")
    return RECIPES[name]
