"""The recipes of ONNX files; importing them does not start Keras."""

from __future__ import annotations

from converters.choices import check_recipe
from levit_common.spelling import did_you_mean

ONNX_RECIPES = ("fp32", "int8")  # from `converters.choices.RECIPES`


def check_onnx_recipe(recipe: str, calibrated: bool) -> None:
    """Checks that a recipe exists for ONNX files and that its requirements are met.

    Args:
      recipe: one of `ONNX_RECIPES`.
      calibrated: whether there are calibration pictures, or ranges that training learned.

    Raises:
      ValueError: the recipe is unknown or a requirement is not met; the message says what to do.
    """
    if recipe not in ONNX_RECIPES:
        raise ValueError(
            f"--recipe: expected {' or '.join(ONNX_RECIPES)} for ONNX. Received: {recipe!r}."
            f"{did_you_mean(recipe, ONNX_RECIPES)}"
        )
    check_recipe(recipe, None, calibrated)
