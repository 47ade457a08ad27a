"""A Keras LeViT, or a model with one in it, to a TFLite file, by a named recipe.

    python -m converters.to_tflite --model=levit256.keras --recipe=fp16 --output=levit256.tflite
    python -m converters.to_tflite --model=levit256.keras --recipe=int8 --output=levit256.tflite \\
        --calibration=imagefolder:/path/to/pictures

The file takes one plain RGB picture, 0..255, and returns probabilities or, with --outputs, logits
or both, by the names of `levit_common.shipped_names`. It carries the metadata that MediaPipe and
Android Studio read, class names included. It is compared with what the Keras model itself says
before it is put in place, and FILE.json beside it says how it was made and how far it is from
Keras.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from absl import flags

from converters import cli
from converters.deploy import class_count, deploy_graph
from converters.tflite import calibration
from converters.tflite.pixel_normalization import normalize_rows
from converters.tflite.quantization_ranges import Ranges
from converters.tflite.recipes import RECIPES, Recipe, recipe_by_name
from converters.tflite.tflite_files import sha256, write_tflite
from converters.tflite.tflite_graph import Graph
from converters.to_saved_model import write_graph
from converters.verification.verify_keras import model_artefact
from levit_common.files import atomic_path
from levit_common.shipped_names import LOGITS, PROBABILITIES, SIGNATURE
from levit_tf.prediction.network_files import Network
from levit_tf.prediction.predictor import class_names_for, labels_for
from levit_tf.weights.keras_files import load_keras_file

OUTPUTS = {
    PROBABILITIES: (PROBABILITIES,),
    LOGITS: (LOGITS,),
    "both": (LOGITS, PROBABILITIES),
}


def to_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    recipe: str = "fp32",
    outputs: str = PROBABILITIES,
    io_dtype: str | None = None,
    calibration_images: np.ndarray | None = None,
    ranges: Callable[[Graph], Ranges] | None = None,
    class_names: Sequence[str] | None = None,
    input_range: str | None = None,
    source: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> dict:
    """Writes a LeViT as a TFLite file for one picture at a time, and a JSON about it.

    Args:
      model: see `converters.deploy.deploy_graph`.
      path: the file to write, ending in .tflite.
      recipe: one of `converters.tflite.recipes.RECIPES`.
      outputs: of a classifier, one of `OUTPUTS`. MediaPipe wants a single output. Other networks
        keep all that they have.
      io_dtype: type of the input and the outputs, one of the recipe's; its usual one by default.
      calibration_images: pictures (n, height, width, 3), RGB 0..255, like those that the network
        will see. Recipes that quantise activations need them; with all recipes the file is compared
        with Keras on them, and without them on pictures that come with scikit-learn.
      ranges: of a network that was trained for int8: the float32 graph -> the ranges of its
        tensors. Nothing is learned from `calibration_images` then.
      class_names: in the order of the outputs; by default those that the model has; else ImageNet's
        for 1000 classes, else "class 0", "class 1" and so on.
      input_range: see `converters.deploy.deploy_graph`.
      source: the file that `model` is from, for the JSON.
      overwrite: whether an existing `path` is replaced.

    Returns:
      What the JSON says.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false.
      ImportError: a package is missing that the recipe needs.
      ValueError: an argument is not valid, `model` cannot be exported, or the file does not compute
        what `model` does. Nothing is written then.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise ValueError(f"--output: expected a file name ending in .tflite. Received: {path}")
    if outputs not in OUTPUTS:
        raise ValueError(f"--outputs: expected one of {', '.join(OUTPUTS)}. Received: {outputs!r}")
    chosen = recipe_by_name(recipe)
    io_dtype = _io_dtype(recipe, chosen, io_dtype)
    with atomic_path(path, overwrite) as temporary:
        reference = model_artefact(model, str(source or f"Model {model.name!r}"), input_range)
        graph = chosen_outputs(deploy_graph(model, 1, input_range), outputs)
        names = label_names(graph, class_names, reference.network)
        images = _checked_images(calibration_images, graph)
        if images is None and ranges is None and chosen.calibrated:
            raise ValueError(
                f"Recipe {recipe!r} needs calibration data, pictures like those that the network "
                f"will see. Name them with --calibration: {calibration.CHOICES}."
            )
        about = {
            "recipe": recipe,
            "description": chosen.description,
            "input_and_output_type": io_dtype,
            "source": source and {"file": Path(source).name, "sha256": sha256(source)},
        }
        lite = float32_graph(graph)
        if ranges is None:
            about["calibration_images"] = len(images) if chosen.calibrated else 0
            lite = chosen.make(lite, images, None, io_dtype)
        else:
            about["ranges"] = "learned in training"
            lite = chosen.make(lite, None, ranges(lite), io_dtype)
        return write_tflite(
            temporary,
            lite,
            reference,
            about,
            json_path=f"{path}.json",
            name=model.name,
            class_names=names,
            images=images,
            tolerance=chosen.tolerance,
        )


def chosen_outputs(graph: keras.Model, outputs: str) -> keras.Model:
    """A deploy graph with the outputs that a file is to have.

    Args:
      graph: a result of `converters.deploy.deploy_graph`.
      outputs: one of `OUTPUTS`, for a classifier.

    Raises:
      ValueError: the network has no such output.
    """
    if class_count(graph) is None:
        return graph
    missing = sorted(set(OUTPUTS[outputs]) - set(graph.output))
    if missing:
        raise ValueError(
            f"--outputs={outputs}: the network has no {missing[0]}. It has: "
            f"{', '.join(graph.output)}"
        )
    chosen = {name: graph.output[name] for name in OUTPUTS[outputs]}
    return keras.Model(graph.input, chosen, name=graph.name)


def label_names(
    graph: keras.Model, given: Sequence[str] | None, network: Network
) -> list[str] | None:
    """The labels of a TFLite file: one for each value of its output; None for no classifier.

    Args:
      graph: the deploy graph.
      given: names of the classes, None for those of the network.
      network: what the model is.
    """
    classes = class_count(graph)
    if classes is None:
        return None
    names = class_names_for(given, (), 2 if classes == 1 else classes, network.class_names)
    return names[-classes:]  # a single value is the probability of the second of two classes


def float32_graph(graph: keras.Model) -> Graph:
    """Converts a deploy graph to a float32 graph of TFLite.

    By way of a SavedModel, because quantising needs the signature, and because a conversion from
    functions leaves variables of a Keras 3 model in the graph instead of constants.

    Args:
      graph: see `converters.deploy.deploy_graph`, for a batch of a fixed size.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write_graph(graph, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converted = Graph(converter.convert())
    normalize_rows(converted)
    return converted


def _io_dtype(name: str, recipe: Recipe, io_dtype: str | None) -> str:
    if io_dtype is not None and io_dtype not in recipe.io_dtypes:
        raise ValueError(
            f"--io_dtype: recipe {name!r} has an input and outputs of type "
            f"{' or '.join(recipe.io_dtypes)}. Received: {io_dtype!r}"
        )
    return io_dtype or recipe.io_dtypes[0]


def _checked_images(images, graph: keras.Model) -> np.ndarray | None:
    if images is None:
        return None
    images = np.asarray(images)
    expected = graph.input.shape[1:]
    if images.shape[1:] != expected or not len(images):
        raise ValueError(
            f"Calibration pictures must have shape (n, {', '.join(map(str, expected))}), n at "
            f"least 1. Received: {images.shape}"
        )
    if not (np.isfinite(images).all() and images.min() >= 0 and 1 < images.max() <= 255):
        raise ValueError("Calibration pictures must be plain pixels 0..255, not normalised ones.")
    return images


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    model = load_keras_file(args.model)
    images = None
    if args.calibration is not None:
        # Whatever else was loaded is refused here, in words.
        size = deploy_graph(model, input_range=args.input_range).input.shape[1:3]
        images = calibration.calibration_images(args.calibration, size)
    about = to_tflite(
        model,
        args.output,
        recipe=args.recipe,
        outputs=args.outputs,
        io_dtype=args.io_dtype,
        calibration_images=images,
        class_names=labels_for(args.labels, Path(args.model)),
        input_range=args.input_range,
        source=args.model,
        overwrite=args.overwrite,
    )
    found = about["compared_with_keras"]
    name = next(name for name in (LOGITS, PROBABILITIES, *about["outputs"]) if name in found)
    same = f"{found['same_top1']:.1%} of the answers are those of Keras, "
    print(
        f"written: {args.output}, {about['bytes'] / 1e6:.1f} MB; on {found['pictures']} pictures "
        f"{same if 'same_top1' in found else ''}{name} differ by "
        f"{found[name]['relative_difference']:.1e} of the largest"
    )


def define_flags() -> None:
    known = "; ".join(f"{name}: {recipe.description}" for name, recipe in RECIPES.items())
    flags.DEFINE_string("model", None, "LeViT, or a model with one in it: a .keras file.")
    flags.DEFINE_string("recipe", "fp32", f"One of {known}.")
    flags.DEFINE_string("output", None, "File to write, ending in .tflite.")
    flags.DEFINE_enum("outputs", PROBABILITIES, OUTPUTS, "What the file returns.")
    flags.DEFINE_string("io_dtype", None, "Input and outputs of int8_full: uint8 (usual) or int8.")
    flags.DEFINE_string(
        "calibration",
        None,
        "Pictures that int8 and int8_full learn ranges from, and that every file is compared with "
        f"Keras on: {calibration.CHOICES}.",
    )
    flags.DEFINE_string(
        "labels",
        None,
        "Class names, one a line; by default labels.txt beside the model, or the model's own.",
    )
    cli.define_input_range()
    flags.DEFINE_bool("overwrite", False, "Replace an existing output.")
    flags.mark_flags_as_required(["model", "output"])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
