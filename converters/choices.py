"""The values that flags of converters can have, known before Keras starts.

The code that makes what a name says takes the names from here.
"""

from __future__ import annotations

from typing import NamedTuple

from levit_common.choices import PYTORCH_FILES
from levit_common.shipped_names import LOGITS, PROBABILITIES
from levit_common.spelling import did_you_mean


class RecipeChoice(NamedTuple):
    """A named way to make a TFLite file, as its user sees it.

    Attributes:
      description: what is in the file.
      calibrated: whether it needs calibration pictures.
      io_dtypes: types that the input and the outputs can have, the usual one first.
    """

    description: str
    calibrated: bool = False
    io_dtypes: tuple[str, ...] = ("float32",)


# Of the input and the outputs where nothing is float; the usual one first.
IO_DTYPES = ("uint8", "int8")
RECIPES = {
    "fp32": RecipeChoice("float32 throughout"),
    "fp16": RecipeChoice(
        "float16 weights, computed in float16 where the CPU can and in float32 elsewhere"
    ),
    "dynamic": RecipeChoice(
        "int8 weights, per channel; activations in float32, quantised as they come"
    ),
    "int8": RecipeChoice(
        "int8 convolutions and dense layers, per channel; attention core in float32; float32 "
        "input and outputs; the fastest on CPUs",
        calibrated=True,
    ),
    "int8_full": RecipeChoice(
        "int8 in every op, integer input and outputs, for accelerators that have no floats",
        calibrated=True,
        io_dtypes=IO_DTYPES,
    ),
}
# How recipes that are calibrated choose the ranges of activations.
CALIBRATION_METHODS = {
    "min_max": "from the smallest to the largest value",
    "percentile": "without one value in 10,000 at either end",
    "mse": "the least mean squared error of the rounded values",
    "similarity": "layers return what is most similar to the float ones, attention keeps its order",
}
DEFAULT_CALIBRATION_METHOD = "similarity"
LEAST_CALIBRATION_IMAGES = 8  # of which anything but extremes can be said
# Recipes that a network can be trained for.
TARGETS = ("int8", "int8_full")
# What `converters.to_dynamic` writes.
STEP_FORMATS = ("tflite", "saved_model", "onnx")
# Where a model is to run: what `converters.choose` measures candidates for.
PLACES = ("this-machine", "android", "tf-serving")
# What a TFLite file of a classifier returns.
OUTPUTS = {
    PROBABILITIES: (PROBABILITIES,),
    LOGITS: (LOGITS,),
    "both": (LOGITS, PROBABILITIES),
}
# Pictures to calibrate with.
EMBEDDED = ("digits", "photographs")
FOLDER_PREFIX = "imagefolder:"
CALIBRATION = f"{', '.join(EMBEDDED)} (embedded) or {FOLDER_PREFIX}/path/to/pictures"
# What a SavedModel computes in.
PRECISIONS = ("float32", "bfloat16")
# How a SavedModel keeps its weights.
CONSTANTS, VARIABLES = "constants", "variables"
WEIGHTS = (CONSTANTS, VARIABLES)
WEIGHTS_HELP = (
    "Constants are the quickest for one picture; variables take half of the memory and of the time "
    "to the first answer."
)
# What `converters.verify` compares.
VERIFIED = (
    "a .keras file, a SavedModel directory, a .tflite file, an .onnx file, or a PyTorch checkpoint "
    f"({', '.join(PYTORCH_FILES)})"
)
COMPARED_PICTURES = 500  # of a folder, at most: 300 MB of 224x224 pixels
# ONNX: from the first opset with HardSwish to the last that tf2onnx 1.17 writes.
OPSETS = range(14, 19)
DEFAULT_OPSET = 17
DYNAMIC = "dynamic"  # as a batch size
LABELS_HELP = "Class names, one a line; by default labels.txt beside the model, or the model's own."


def check_recipe(recipe: str, io_dtype: str | None, calibrated: bool) -> None:
    """Checks that a recipe exists and gets what it needs.

    Args:
      recipe: one of `RECIPES`.
      io_dtype: one of the recipe's; None for its usual one.
      calibrated: whether there are calibration pictures.

    Raises:
      ValueError: it does not; the message says what to do.
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
    """Checks how ranges are to be chosen.

    Args:
      method: one of `CALIBRATION_METHODS`; None for the usual one.
      recipe: one of `RECIPES`.
      images: how many calibration pictures there are; None if that is not known yet.

    Raises:
      ValueError: there is no such method, the recipe has no ranges, or the pictures are too few.
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
    """Checks what an ONNX file is asked to be.

    Args:
      opset: one of `OPSETS`.
      batch_size: images in a batch; None for any number.

    Raises:
      ValueError: one of them cannot be.
    """
    if opset not in OPSETS:
        raise ValueError(f"--opset: expected {OPSETS[0]} to {OPSETS[-1]}. Received: {opset}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"--batch: expected {DYNAMIC} or at least 1. Received: {batch_size}")
