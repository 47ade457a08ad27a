"""Converts a Keras LeViT to a SavedModel; the command is `converters.to_saved_model`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from converters.choices import CONSTANTS, SAVED_MODEL_FILES
from converters.deploy import deploy_graph
from converters.saved_model.tensorflow_graph import tensorflow_function
from converters.saved_model.writing import write_saved_model
from converters.verification.export_check import check_export
from converters.verification.verify_artefact import BFLOAT16, FLOAT32
from converters.verification.verify_graphs import saved_model_artefact
from converters.verification.verify_keras import model_artefact
from levit_common.files import atomic_path
from levit_common.shipped_names import INPUT, SIGNATURE
from levit_lite.class_names import LABELS_FILE
from levit_tf.prediction.predictor import exported_class_names

TOLERANCES = {"float32": FLOAT32.tolerance, "bfloat16": BFLOAT16.tolerance}


def to_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    class_names: Sequence[str] | None = None,
    input_range: str | None = None,
    images: np.ndarray | None = None,
    precision: str = "float32",
    weights: str = CONSTANTS,
    overwrite: bool = False,
) -> float:
    """Writes a LeViT as a SavedModel for any batch size.

    Args:
      model: see `converters.deploy.deploy_graph`.
      path: the directory to write.
      class_names: one name per class, stored as `labels.txt` in the directory; by default those of
        the model.
      input_range: see `converters.deploy.deploy_graph`.
      images: pictures to compare on, see `converters.verification.export_check.check_export`.
      precision: "float32", or "bfloat16" for all arithmetic between float32 pixels and float32
        logits: faster if the processor has such instructions, with a relative error of about 2e-2.
      weights: "constants", or "variables", which start faster and need less memory, but take longer
        for one picture.
      overwrite: whether an existing `path` is replaced.

    Returns:
      The largest difference of an output from the model's, relative to the output's largest value.

    Raises:
      FileExistsError: `path` exists, and `overwrite` is false or it is no SavedModel.
      ValueError: `model` cannot be exported, the number of class names is wrong, or the SavedModel
        computes something else than the model. Then nothing is written.
    """
    with atomic_path(path, overwrite, SAVED_MODEL_FILES) as temporary:
        reference = model_artefact(model, f"Model {model.name!r}", input_range, few=True)
        graph = deploy_graph(model, input_range=input_range, is_open=True)
        names = exported_class_names(class_names, reference.network)
        function = tensorflow_function(graph, precision, weights=weights)
        save_signatures({SIGNATURE: function}, temporary)
        if names:
            write_labels(Path(temporary, LABELS_FILE), names)
        return check_export(
            reference, saved_model_artefact(Path(temporary)), images, TOLERANCES[precision], path
        )


def save_signatures(
    signatures: Mapping[str, tf.types.experimental.GenericFunction], path: str | os.PathLike
) -> None:
    """Writes functions with input signatures, and the variables that they read, as a SavedModel."""
    module = tf.Module()
    read = [one.get_concrete_function().variables for one in signatures.values()]
    module.weights = list({id(v): v for variables in read for v in variables}.values())
    write_saved_model(module, path, signatures)


def write_graph(graph: keras.Model, path: str | os.PathLike) -> None:
    """Writes a deploy graph unchanged, with its fixed batch size, for other converters.

    Its weights are constants: writing variables takes three times as long, and a `tf.Module` does
    not track those of a Keras 3 model.

    Args:
      graph: a result of `converters.deploy.deploy_graph`.
      path: the directory to write.
    """
    arrays = [(variable, keras.ops.convert_to_numpy(variable)) for variable in graph.variables]

    def serve(images):
        with keras.StatelessScope([(v, tf.constant(array)) for v, array in arrays]):
            return graph(images, training=False)

    spec = tf.TensorSpec(graph.input.shape, tf.float32, name=INPUT)
    function = tf.function(serve, input_signature=[spec], autograph=False)
    write_saved_model(tf.Module(), path, {SIGNATURE: function})


def write_labels(path: str | os.PathLike, class_names: Sequence[str]) -> None:
    """Writes class names in the format of `levit_lite.class_names.read_labels`."""
    Path(path).write_text("\n".join(class_names) + "\n", encoding="utf-8")
