"""Allowed values of the converters' flags; importing them does not start Keras.

The code that implements a value imports its name from here.
"""

from __future__ import annotations

from typing import NamedTuple

from levit_common.choices import PYTORCH_FILES
from levit_common.model_sources import NAMES
from levit_common.shipped_names import GRAPH_FILE, LOGITS, PROBABILITIES
from levit_common.spelling import did_you_mean


class RecipeChoice(NamedTuple):
    """Description of a recipe for TFLite files.

    Attributes:
      description: readable text about the content of the file.
      calibrated: whether it needs calibration pictures.
      io_dtypes: possible types of the input and the outputs, the default first.
    """

    description: str
    calibrated: bool = False
    io_dtypes: tuple[str, ...] = ("float32",)


# Types of the input and the outputs of integer-only files, the default first.
IO_DTYPES = ("uint8", "int8")
RECIPES = {
    "fp32": RecipeChoice("float32 throughout"),
    "fp16": RecipeChoice(
        "float16 weights, computed in float16 if the CPU supports it, else in float32"
    ),
    "dynamic": RecipeChoice(
        "int8 weights, per channel; float32 activations, quantised dynamically at run time"
    ),
    "int8": RecipeChoice(
        "int8 convolutions and dense layers, per channel, and products of attention; its softmax, "
        "hard-swish, input and outputs in float32; the fastest on CPUs",
        calibrated=True,
    ),
    "int8_full": RecipeChoice(
        "int8 in every op, integer input and outputs, for accelerators without float arithmetic",
        calibrated=True,
        io_dtypes=IO_DTYPES,
    ),
}
# How calibrated recipes choose the ranges of activations.
CALIBRATION_METHODS = {
    "min_max": "from the smallest to the largest value",
    "percentile": "without the outermost 0.01 % of the values at either end",
    "mse": "the lowest mean squared error of the rounded values",
    "similarity": "outputs of layers most similar to the float model's, order of attention kept",
}
DEFAULT_CALIBRATION_METHOD = "mse"
LEAST_CALIBRATION_IMAGES = 8  # enough pictures for statistics other than the extremes
# Recipes that support quantisation-aware training.
TARGETS = ("int8", "int8_full")
# File formats of `converters.to_dynamic`.
STEP_FORMATS = ("tflite", "saved_model", "onnx")
# Targets for which `converters.choose` measures candidates.
PLACES = ("this-machine", "android", "tf-serving")
# Outputs of a classifier's TFLite file.
OUTPUTS = {
    PROBABILITIES: (PROBABILITIES,),
    LOGITS: (LOGITS,),
    "both": (LOGITS, PROBABILITIES),
}
# Files by which the folders that commands write are recognised, before another replaces them.
RECORD_FILE = "dynamic.json"
DYNAMIC_FILES = (RECORD_FILE,)
SAVED_MODEL_FILES = (GRAPH_FILE,)
UPLOAD_FILES = ("README.md", "config.json", "model.keras")
# Calibration pictures that are available without files.
EMBEDDED = ("digits", "photographs")
FOLDER_PREFIX = "imagefolder:"
CALIBRATION = f"{', '.join(EMBEDDED)} (embedded) or {FOLDER_PREFIX}/path/to/pictures"
# Types that a SavedModel computes in.
PRECISIONS = ("float32", "bfloat16")
# How a SavedModel stores its weights.
CONSTANTS, VARIABLES = "constants", "variables"
WEIGHTS = (CONSTANTS, VARIABLES)
WEIGHTS_HELP = (
    "How weights are stored: constants are the fastest for one picture; variables need half of the "
    "memory, and half of the time until the first result."
)
# Files that `converters.verify` compares.
VERIFIED = (
    "a .keras file, a SavedModel directory, a .tflite file, an .onnx file, a PyTorch checkpoint "
    f"({', '.join(PYTORCH_FILES)}), {NAMES}"
)
COMPARED_PICTURES = 500  # largest number of pictures from a folder: 300 MB at 224x224 pixels
# ONNX: from the first opset with HardSwish to the last that tf2onnx 1.17 writes.
OPSETS = range(14, 19)
DEFAULT_OPSET = 17
DYNAMIC = "dynamic"  # value of --batch for any batch size
LABELS_HELP = (
    "Text file of class names, one per line; by default the names stored in the model, else "
    "labels.txt in its folder."
)


def check_recipe(recipe: str, io_dtype: str | None, calibrated: bool) -> None:
    """Checks that a recipe exists and that its requirements are met.

    Args:
      recipe: one of `RECIPES`.
      io_dtype: one of the recipe's types; None for its default.
      calibrated: whether there are calibration pictures.

    Raises:
      ValueError: the recipe is unknown or a requirement is not met; the message says what to do.
    """
    if recipe not in RECIPES:
        known = "\n".join(f"  {name}: {choice.description}" for name, choice in RECIPES.items())
        raise ValueError(f"Unknown recipe {recipe!r}. Known:\n{known}")
    io_dtypes = RECIPES[recipe].io_dtypes
    if io_dtype is not None and io_dtype not in io_dtypes:
        raise ValueError(
            f"--io_dtype: recipe {recipe!r} has an input and outputs of type "
            f"{' or '.join(io_dtypes)}. Received: {io_dtype!r}"
        )
    if RECIPES[recipe].calibrated and not calibrated:
        raise ValueError(
            f"Recipe {recipe!r} needs calibration data, pictures like those that the network "
            f"will see. Name them with --calibration: {CALIBRATION}."
        )


def check_calibration_method(method: str | None, recipe: str, images: int | None = None) -> None:
    """Checks the method that chooses ranges of activations.

    Args:
      method: one of `CALIBRATION_METHODS`; None for the default.
      recipe: one of `RECIPES`.
      images: number of calibration pictures; None if it is not known yet.

    Raises:
      ValueError: there is no such method, the recipe needs no ranges, or the pictures are too few.
    """
    if method is not None and method not in CALIBRATION_METHODS:
        raise ValueError(
            f"--calibration_method: expected one of {', '.join(CALIBRATION_METHODS)}. Received: "
            f"{method!r}.{did_you_mean(method, CALIBRATION_METHODS)}"
        )
    calibrated = [name for name, choice in RECIPES.items() if choice.calibrated]
    if recipe not in calibrated:
        if method is not None:
            raise ValueError(
                f"--calibration_method: recipe {recipe!r} learns no ranges from pictures; "
                f"{' and '.join(calibrated)} do."
            )
        return
    method = method or DEFAULT_CALIBRATION_METHOD
    if images is not None and images < LEAST_CALIBRATION_IMAGES and method != "min_max":
        raise ValueError(
            f"Calibration by {method} needs at least {LEAST_CALIBRATION_IMAGES} pictures. "
            f"Received: {images}. Give more, or take --calibration_method=min_max."
        )


def check_opset(opset: int, batch_size: int | None) -> None:
    """Checks opset and batch size of an ONNX file.

    Args:
      opset: one of `OPSETS`.
      batch_size: batch size; None for any size.

    Raises:
      ValueError: the opset or the batch size is not valid.
    """
    if opset not in OPSETS:
        raise ValueError(f"--opset: expected {OPSETS[0]} to {OPSETS[-1]}. Received: {opset}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"--batch: expected {DYNAMIC} or at least 1. Received: {batch_size}")
