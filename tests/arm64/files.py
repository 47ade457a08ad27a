"""Writes LeViT-128S by every TFLite recipe, and the pictures to run the files on.

    python -m tests.arm64.files --folder=.venv-arm64/files

Fixed random weights, BatchNorm state and attention biases. Most of what the logits of all pictures
have in common is taken out of the heads' biases, or two classes would be the answer to everything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import levit_tf
from converters.tflite.calibration import calibration_images
from converters.tflite.recipes import RECIPES
from converters.to_tflite import to_tflite
from levit_common.files import atomic_path
from tests.arm64.machine import DONE, PICTURES
from tests.support.randomize import randomize_keras

VARIANT = "LeViT128S"
# Of the mean logits. All of them would leave int8_full, untrained, with little but its errors.
_TAKEN_OUT = 0.8


def write(folder: Path, variant: str = VARIANT) -> None:
    """Writes RECIPE.tflite for each of `RECIPES`, which return logits, and `PICTURES`.

    Args:
      folder: made by this, all of it or nothing; what was there is replaced.
      variant: one of `levit_tf.list_variants()`.
    """
    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT(variant, weights=None, classifier_activation=None)
    randomize_keras(model)
    images = calibration_images("photographs", model.input_shape[1:3])
    _spread_logits(model, images)
    with atomic_path(folder, overwrite=True, made_of=[DONE]) as temporary:
        written = Path(temporary)
        written.mkdir()
        for recipe in RECIPES:
            path = written / f"{recipe}.tflite"
            to_tflite(model, path, recipe=recipe, outputs="logits", calibration_images=images)
        np.save(written / PICTURES, images.astype(np.uint8))
        (written / DONE).touch()


def _spread_logits(model: keras.Model, images: np.ndarray) -> None:
    common = model.predict(levit_tf.preprocess_input(images), verbose=0).mean(axis=0)
    heads = model.get_layer("classifier")
    for head in (heads.head, heads.head_dist):  # the logits are the mean of both
        head.linear.bias.assign_sub(_TAKEN_OUT * common)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="what to make")
    parser.add_argument("--variant", default=VARIANT, help="which network (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        write(options.folder, options.variant)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
