"""Converts a Keras LeViT, or a model that contains one, to a TFLite file by a named recipe.

The command is `python -m converters.to_tflite`; its help has more details.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from converters import choices
from converters.choices import (
    DEFAULT_CALIBRATION_METHOD,
    OUTPUTS,
    check_calibration_method,
    check_recipe,
)
from converters.deploy import class_count, deploy_graph, layer_or_none
from converters.saved_model.conversion import write_graph
from converters.tflite.pixel_normalization import normalize_rows
from converters.tflite.quantization_ranges import Ranges
from converters.tflite.recipes import RECIPES
from converters.tflite.tflite_files import sha256, write_tflite
from converters.tflite.tflite_graph import Graph
from converters.verification.verify_keras import model_artefact
from levit_common.files import atomic_path, check_suffix
from levit_common.shipped_names import KEYPOINTS, LOGITS, PROBABILITIES, SIGNATURE
from levit_lite.prediction.network import Network
from levit_lite.prediction.predictor import class_names_for
from levit_tf.prediction.predictor import exported_class_names


def to_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    recipe: str = "fp32",
    outputs: str = PROBABILITIES,
    io_dtype: str | None = None,
    calibration_images: np.ndarray | None = None,
    calibration_method: str | None = None,
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
      recipe: one of `converters.choices.RECIPES`.
      outputs: outputs of a classifier, one of `converters.choices.OUTPUTS`. MediaPipe needs a
        single output. Networks with other outputs keep all of them.
      io_dtype: type of the input and the outputs, one of the recipe's types; by default the first.
        Joints are always float32.
      calibration_images: pictures (n, height, width, 3), RGB 0..255, like those of the application.
        Recipes that quantise activations need them. With every recipe, the file is compared with
        Keras on them, or, if None, on pictures that come with scikit-learn.
      calibration_method: one of `converters.choices.CALIBRATION_METHODS`, for these recipes; by
        default the one that was measured to be closest to float.
      ranges: for a network trained for int8: function from the float32 graph to the ranges of its
        tensors. Then no ranges are learned from `calibration_images`.
      class_names: class names in the order of the outputs; by default those of the model; else
        ImageNet's for 1000 classes, else "class 0", "class 1" and so on.
      input_range: see `converters.deploy.deploy_graph`.
      source: the file of `model`, or the name that it was loaded by, for the JSON.
      overwrite: whether an existing `path` is replaced.

    Returns:
      The content of the JSON.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false.
      ImportError: a package that the recipe needs is missing.
      ValueError: an argument is not valid, `model` cannot be exported, or the file computes
        something else than `model`. Then nothing is written.
    """
    path = Path(path)
    check_suffix(path, ".tflite")
    if outputs not in OUTPUTS:
        raise ValueError(f"--outputs: expected one of {', '.join(OUTPUTS)}. Received: {outputs!r}")
    check_recipe(recipe, io_dtype, not (calibration_images is None and ranges is None))
    check_calibration_method(calibration_method, recipe)
    chosen, make, tolerance = choices.RECIPES[recipe], *RECIPES[recipe]
    io_dtype = io_dtype or chosen.io_dtypes[0]
    method = calibration_method or DEFAULT_CALIBRATION_METHOD
    with atomic_path(path, overwrite) as temporary:
        reference = model_artefact(
            model, str(source or f"Model {model.name!r}"), input_range, few=True
        )
        graph = chosen_outputs(deploy_graph(model, 1, input_range), outputs)
        names = label_names(graph, class_names, reference.network)
        images = checked_images(calibration_images, graph)
        about = {
            "recipe": recipe,
            "description": chosen.description,
            "input_and_output_type": io_dtype,
            "source": _record_of(source),
        }
        if KEYPOINTS in graph.output:
            about["output_type"] = "float32"  # of whichever recipe
        lite = float32_graph(graph)
        if ranges is None:
            about["calibration_images"] = len(images) if chosen.calibrated else 0
            if chosen.calibrated:
                about["calibration_method"] = method
            lite = make(lite, images, None, io_dtype, method)
        else:
            about["ranges"] = "learned in training"
            lite = make(lite, None, ranges(lite), io_dtype, method)
        return write_tflite(
            temporary,
            lite,
            reference,
            about,
            json_path=f"{path}.json",
            name=model.name,
            class_names=names,
            images=images,
            tolerance=tolerance,
        )


def chosen_outputs(graph: keras.Model, outputs: str) -> keras.Model:
    """Returns a deploy graph with the requested outputs only.

    Args:
      graph: a result of `converters.deploy.deploy_graph`.
      outputs: one of `OUTPUTS`, for a classifier without other outputs.

    Raises:
      ValueError: the network has no such output, or its logits alone would be taken for others.
    """
    if class_count(graph) is None or set(graph.output) - {LOGITS, PROBABILITIES}:
        return graph
    missing = sorted(set(OUTPUTS[outputs]) - set(graph.output))
    if missing:
        raise ValueError(
            f"--outputs={outputs}: the network has no {missing[0]}. It has: "
            f"{', '.join(graph.output)}"
        )
    last = layer_or_none(graph, PROBABILITIES)
    if outputs == LOGITS and last and last.activation is not keras.activations.softmax:
        raise ValueError(
            "--outputs=logits: whoever reads the file would apply a softmax, and this network's "
            "probabilities are none. Use --outputs=probabilities or --outputs=both."
        )
    chosen = {name: graph.output[name] for name in OUTPUTS[outputs]}
    return keras.Model(graph.input, chosen, name=graph.name)


def label_names(
    graph: keras.Model, given: Sequence[str] | None, network: Network
) -> list[str] | None:
    """Returns the labels of a TFLite file: one label per value of a classifier's output.

    For a network that is not a classifier, or whose outputs have other names, the labels are the
    names stored in the network. A single value is the probability of the second of two classes: it
    has the name of this class as its label, or none if the network has no names.

    Args:
      graph: the deploy graph.
      given: class names; None for those of the network.
      network: the original model as a network.
    """
    classes = class_count(graph)
    if classes is not None and classes > 1:
        return class_names_for(given, (), classes, network.class_names)
    names = exported_class_names(given, network)
    return names[1:] if names and classes == 1 else names


def float32_graph(graph: keras.Model) -> Graph:
    """Converts a deploy graph to a float32 graph of TFLite.

    The conversion uses a SavedModel, because quantisation needs the signature.

    Args:
      graph: see `converters.deploy.deploy_graph`; its batch size must be fixed.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write_graph(graph, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converted = Graph(converter.convert())
    normalize_rows(converted)
    return converted


def checked_images(images, graph: keras.Model) -> np.ndarray | None:
    """Returns calibration pictures as an array; None if there are none.

    Args:
      images: plain pixels 0..255; or None.
      graph: the graph that takes them.

    Raises:
      ValueError: the pictures have another size, or values outside the range.
    """
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


def _record_of(source: str | os.PathLike | None) -> dict[str, str] | None:
    if source is None:
        return None
    if not os.path.exists(source):
        return {"name": os.fspath(source)}
    return {"file": Path(source).name, "sha256": sha256(source)}
