"""The recipes and layouts of ONNX files; importing them does not start Keras."""

from __future__ import annotations

from converters.choices import check_recipe
from levit_common.spelling import did_you_mean

ONNX_RECIPES = ("fp32", "int8")  # from `converters.choices.RECIPES`

MAPS, TOKENS = "maps", "tokens"
LAYOUTS = {
    MAPS: "1x1 convolutions over channels-first maps, the default of fp32; quick in ONNX Runtime",
    TOKENS: "matrix products over tokens, as int8 always has them; quick in OpenVINO, but not for "
    "its own quantiser (NNCF), which loses accuracy on it; for pictures of one size",
}


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


def check_layout(layout: str | None, recipe: str) -> str:
    """Checks the layout of an ONNX file, and chooses it if none is given.

    Args:
      layout: one of `LAYOUTS`, or None.
      recipe: one of `ONNX_RECIPES`.

    Returns:
      The layout.

    Raises:
      ValueError: the layout is unknown, or the recipe does not have it.
    """
    if layout is None:
        return MAPS if recipe == "fp32" else TOKENS
    if layout not in LAYOUTS:
        raise ValueError(
            f"--layout: expected {' or '.join(LAYOUTS)}. Received: {layout!r}."
            f"{did_you_mean(layout, LAYOUTS)}"
        )
    if layout == MAPS and recipe != "fp32":
        raise ValueError(f"--layout={MAPS}: --recipe={recipe} exists with {TOKENS} only.")
    return layout
