"""A Keras LeViT to a TFLite file, by a named recipe.

    python -m converters.to_tflite --model=levit256.keras --recipe=fp32 --output=levit256.tflite
    python -m converters.to_tflite --model=levit256.keras --recipe=int8 --output=levit256.tflite \\
        --calibration=imagefolder:/path/to/pictures

The signature is that of `levit_tf.signatures`, with a batch of one image. Beside the file,
FILE.json says how it was made.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from absl import flags

import levit_tf
from converters import calibration, cli
from converters.deploy import deploy_graph
from converters.quantize import quantize_mixed_int8
from converters.to_saved_model import write_graph
from levit_tf.keras_files import load_keras_file
from levit_tf.signatures import SIGNATURE


class Recipe(NamedTuple):
    """One way to make a TFLite file.

    Attributes:
      description: what is in the file.
      quantize: (float32 file, calibration pictures) -> file; None leaves the float32 file.
    """

    description: str
    quantize: Callable[[bytes, np.ndarray], bytes] | None


RECIPES = {
    "fp32": Recipe("float32 throughout", None),
    "int8": Recipe(
        "int8 convolutions and dense layers, per channel; attention core in float32; float32 "
        "input and outputs",
        quantize_mixed_int8,
    ),
}

_PACKAGES = ("keras", "tensorflow", "ai-edge-quantizer")


def to_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    recipe: str = "fp32",
    calibration_images: np.ndarray | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a LeViT as a TFLite file for a batch of one image, and a JSON about it.

    Args:
      model: see `converters.deploy.deploy_graph`.
      path: the file to write, ending in .tflite.
      recipe: one of `RECIPES`.
      calibration_images: pictures (n, height, width, 3), RGB 0..255, like those that the network
        will see; needed by the recipes that quantise activations, and by no other.
      overwrite: whether an existing `path` is replaced.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false.
      ValueError: an argument is not valid, or `model` cannot be exported. Nothing is written then.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise ValueError(f"--output: expected a file name ending in .tflite. Received: {path}")
    chosen = _recipe(recipe)
    with cli.atomic_path(path, overwrite) as temporary:
        graph = deploy_graph(model, batch_size=1)
        if chosen.quantize:
            calibration_images = _check_calibration(recipe, calibration_images, graph)
        elif calibration_images is not None:
            raise ValueError(f"Recipe {recipe!r} needs no calibration data; leave it out.")
        content = _convert(graph)
        if chosen.quantize:
            content = chosen.quantize(content, calibration_images)
        about = {
            "recipe": recipe,
            "description": chosen.description,
            "model": model.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "calibration_images": len(calibration_images) if chosen.quantize else 0,
            "versions": {"levit_tf": levit_tf.__version__, **_versions()},
        }
        # What describes a file is of no use to anyone else, so it always follows the file.
        with cli.atomic_path(f"{path}.json", overwrite=True) as temporary_json:
            Path(temporary_json).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            Path(temporary).write_bytes(content)


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        known = "\n".join(f"  {key}: {recipe.description}" for key, recipe in RECIPES.items())
        raise ValueError(f"Unknown recipe {name!r}. Known:\n{known}")
    return RECIPES[name]


def _check_calibration(recipe: str, images, graph: keras.Model) -> np.ndarray:
    if images is None:
        raise ValueError(
            f"Recipe {recipe!r} needs calibration data, pictures like those that the network will "
            f"see. Name them with --calibration: {calibration.CHOICES}."
        )
    images = np.asarray(images)
    expected = graph.input.shape[1:]
    if images.shape[1:] != expected or not len(images):
        raise ValueError(
            f"Calibration pictures must have shape (n, {', '.join(map(str, expected))}), n at "
            f"least 1. Received: {images.shape}"
        )
    if not (np.isfinite(images).all() and images.min() >= 0 and 1 < images.max() <= 255):
        raise ValueError("Calibration pictures must be plain RGB 0..255, not normalised ones.")
    return images


def _convert(graph: keras.Model) -> bytes:
    """The float32 file of a deploy graph.

    By way of a SavedModel, because quantising later needs the signature, and because a conversion
    from functions leaves variables of a Keras 3 model in the graph instead of constants.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write_graph(graph, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        return converter.convert()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    model = load_keras_file(args.model)
    images = None
    if args.calibration is not None:
        images = calibration.calibration_images(args.calibration, model.input_shape[1:3])
    to_tflite(
        model,
        args.output,
        recipe=args.recipe,
        calibration_images=images,
        overwrite=args.overwrite,
    )
    print(f"written: {args.output}")


def define_flags() -> None:
    flags.DEFINE_string("model", None, "LeViT of either form, a .keras file.")
    flags.DEFINE_string("recipe", "fp32", f"One of: {', '.join(RECIPES)}.")
    flags.DEFINE_string("output", None, "File to write, ending in .tflite.")
    flags.DEFINE_string("calibration", None, f"Pictures for int8: {calibration.CHOICES}.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing output.")
    flags.mark_flags_as_required(["model", "output"])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
