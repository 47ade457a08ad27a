"""The recipes that ONNX files can have, known before Keras starts."""

from __future__ import annotations

from converters.choices import check_recipe
from levit_common.spelling import did_you_mean

ONNX_RECIPES = ("fp32", "int8")  # of `converters.choices.RECIPES`


def check_onnx_recipe(recipe: str, calibrated: bool) -> None:
    """Checks that a recipe is one for ONNX files and gets what it needs.

    Args:
      recipe: one of `ONNX_RECIPES`.
      calibrated: whether there are calibration pictures, or ranges that training learned.

    Raises:
      ValueError: it does not; the message says what to do.
    """
    if recipe not in ONNX_RECIPES:
        raise ValueError(
            f"--recipe: expected {' or '.join(ONNX_RECIPES)} for ONNX. Received: {recipe!r}."
            f"{did_you_mean(recipe, ONNX_RECIPES)}"
        )
    check_recipe(recipe, None, calibrated)
