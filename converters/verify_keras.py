"""Keras models for `converters.verify`, PyTorch checkpoints among them."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import keras
import numpy as np

from converters import from_pytorch
from converters.layer_names import layer_in
from converters.verify_artefact import BFLOAT16, FLOAT16, FLOAT32, Artefact, Precision
from levit_tf.artefacts import keras_network
from levit_tf.keras_files import ends_in_softmax, load_keras_file
from levit_tf.layers import Classifier
from levit_tf.preprocessing import preprocess_input
from levit_tf.signatures import LOGITS, PROBABILITIES


def keras_artefact(path: Path) -> Artefact:
    """Opens a `.keras` file of the train form, fused, or of any other classifier."""
    return _artefact(load_keras_file(path), path)


def checkpoint_artefact(
    path: Path, size: tuple[int, int] | None, key: str | None = None
) -> Artefact:
    """Opens a PyTorch checkpoint as the Keras model that it converts to.

    Args:
      path: of any codebase that `converters.from_pytorch` knows.
      size: (height, width) of the pictures it was trained on, where that is not square.
      key: which network of a file with several; see `converters.from_pytorch.convert`.
    """
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder, "checkpoint.keras")
        report = from_pytorch.convert(path, converted, checkpoint_size=size, checkpoint_key=key)
        artefact = _artefact(load_keras_file(converted), path)
    kind = f"PyTorch checkpoint, {report.info.flavour} naming"
    if report.info.prefix:
        kind += f", without the prefix {report.info.prefix!r}"
    return dataclasses.replace(artefact, kind="; ".join([kind, *report.notes]))


def _artefact(model: keras.Model, path: Path) -> Artefact:
    network = keras_network(model, str(path))
    final = keras.Model(model.inputs, _outputs(model, str(path)))
    named = ((layer_in(layer.name), layer) for layer in model.layers)
    tensors = {name: layer.output for name, layer in named if name}
    taps = keras.Model(model.inputs, tensors) if tensors else None

    def predict(part, images):
        found = part.predict_on_batch(preprocess_input(images, data_format="channels_last"))
        return {name: np.asarray(found[name], np.float32) for name in part.output}

    return Artefact(
        source=str(path),
        kind="Keras, train form" if _is_train_form(model) else "Keras",
        precision=_precision(model),
        network=network,
        outputs=lambda images: predict(final, images),
        layers=lambda images: predict(taps, images) if taps else {},
    )


def _is_train_form(model: keras.Model) -> bool:
    return any(isinstance(layer, Classifier) for layer in model.layers)


def _outputs(model: keras.Model, source: str) -> dict[str, keras.KerasTensor]:
    """Logits, unless they are inside the last layer, and probabilities."""
    softmax = keras.layers.Softmax(dtype="float32")
    if isinstance(model.output, dict):  # of two heads
        logits = keras.layers.Average(dtype="float32")(list(model.output.values()))
        return {LOGITS: logits, PROBABILITIES: softmax(logits)}
    if not ends_in_softmax(model, source):
        return {LOGITS: model.output, PROBABILITIES: softmax(model.output)}
    last = model.layers[-1]
    if isinstance(last, (keras.layers.Activation, keras.layers.Softmax)):
        return {LOGITS: last.input, PROBABILITIES: model.output}
    return {PROBABILITIES: model.output}


def _precision(model: keras.Model) -> Precision:
    found = {layer.compute_dtype for layer in model.layers}
    return next((p for p in (BFLOAT16, FLOAT16) if p.name in found), FLOAT32)
