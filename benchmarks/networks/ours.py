"""LeViTs of random weights, and their files as the converters write them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.networks import peers
from benchmarks.networks.forms import ONNX, OPENVINO, random_pictures
from converters.onnx.recipes import TOKENS
from levit_tf.variants import list_variants

VARIANTS = tuple(list_variants()[:5])  # the paper's
# Of calibration. Time does not depend on ranges; the default's search for the best takes minutes.
_METHOD, _IMAGES = "min_max", 2


def levit(variant: str, **options):
    """A LeViT with random weights, BatchNorm state and attention biases.

    Args:
      variant: its name.
      **options: more of `levit_tf.LeViT`.
    """
    import keras

    import levit_tf
    from tests.support.randomize import randomize_keras

    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT(variant, **options)
    randomize_keras(model)
    return model


def write_files(model, folder: Path, files: Iterable[str]) -> None:
    """Writes files of a network, whose names say what is in them.

    Args:
      model: the network.
      folder: that they go to.
      files: RECIPE.tflite, int8.onnx, openvino.onnx of tokens, any other .onnx in float32, int8.xml
        for OpenVINO, fused.keras, or saved_model with _bf16 and _variables behind it.
    """
    import levit_tf
    from converters.choices import RECIPES
    from converters.onnx.conversion import to_onnx
    from converters.saved_model.conversion import to_saved_model
    from converters.tflite.calibration import calibration_images
    from converters.tflite.conversion import to_tflite

    # int8.xml at the end, which is made of fp32.onnx: of tokens, NNCF's file loses ten points.
    paths = sorted((folder / file for file in set(files)), key=lambda path: path.suffix == ".xml")
    recipes = [RECIPES[path.stem] for path in paths if path.stem in RECIPES]
    images = None
    if any(recipe.calibrated for recipe in recipes):
        images = calibration_images("photographs", model.input_shape[1:3])[:_IMAGES]
    for path in paths:
        recipe = path.stem if path.stem in RECIPES else "fp32"
        learning = {"calibration_images": images}
        learning["calibration_method"] = _METHOD if RECIPES[recipe].calibrated else None
        if path.suffix == ".tflite":
            # Logits: of an untrained network, probabilities are all nearly the same.
            to_tflite(model, path, recipe=recipe, outputs="logits", **learning)
        elif path.suffix == ".onnx":
            layout = TOKENS if path.name == OPENVINO else None
            to_onnx(model, path, recipe=recipe, layout=layout, **learning)
        elif path.suffix == ".xml":
            source = folder / ONNX["ONNX Runtime fp32"]
            if not source.exists():
                to_onnx(model, source)
            pictures = random_pictures(8, model.input_shape[1], seed=1)
            peers.quantize_for_openvino(source, path, np.split(pictures, len(pictures)))
        elif path.suffix == ".keras":
            levit_tf.fuse(model).save(path)
        else:
            precision = "bfloat16" if "bf16" in path.name else "float32"
            weights = "variables" if "variables" in path.name else "constants"
            to_saved_model(model, path, precision=precision, weights=weights)
