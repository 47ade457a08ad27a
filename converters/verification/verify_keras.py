"""Opens Keras models and PyTorch checkpoints for `converters.verify`."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import keras

from converters.layer_names import layer_in
from converters.pytorch.to_keras import convert
from converters.verification.verify_artefact import BFLOAT16, FLOAT16, FLOAT32, Artefact, Precision
from levit_common.shipped_names import LOGITS
from levit_tf.keras_graph.endings import is_activation, last_call
from levit_tf.keras_graph.graph_calls import calls_of
from levit_tf.layers import Classifier
from levit_tf.prediction.network_files import float32_of, keras_network, run_of
from levit_tf.weights.keras_files import load_keras_file


def keras_artefact(path: Path, input_range: str | None = None) -> Artefact:
    """Opens a `.keras` file of a LeViT in train or deploy form, or of any other image model."""
    return model_artefact(load_keras_file(path), str(path), input_range)


def checkpoint_artefact(
    path: Path, size: tuple[int, int] | None, key: str | None = None
) -> Artefact:
    """Opens a PyTorch checkpoint as the Keras model that it converts to.

    Args:
      path: checkpoint of any codebase that `converters.from_pytorch` supports.
      size: (height, width) of the pictures that it was trained on, if they are not square.
      key: key of the state dict in a file that holds several; see
        `converters.pytorch.to_keras.convert`.
    """
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder, "checkpoint.keras")
        report = convert(path, converted, checkpoint_size=size, checkpoint_key=key)
        artefact = model_artefact(load_keras_file(converted), str(path))
    kind = f"PyTorch checkpoint, {report.info.flavour} naming"
    if report.info.prefix:
        kind += f", without the prefix {report.info.prefix!r}"
    kind += ", converted as by from_pytorch and run in Keras, not in PyTorch"
    return dataclasses.replace(artefact, kind="; ".join([kind, *report.notes]))


def model_artefact(
    model: keras.Model, source: str, input_range: str | None = None, few: bool = False
) -> Artefact:
    """Wraps a Keras model, called as its user would, as the reference of every export.

    Args:
      model: see `levit_tf.prediction.network_files.keras_network`.
      source: the model's file, for error messages.
      input_range: see `levit_tf.prediction.network_files.read_network`.
      few: see `levit_tf.prediction.network_files.keras_network`.
    """
    network = keras_network(model, source, input_range, few)
    flat, takes, ending = network.opened
    logits = _before_activation(flat) if ending is not None else None
    run_logits = logits and run_of(logits, few)

    def outputs(images):
        found = network.outputs(images)
        if run_logits is not None:
            found |= {LOGITS: float32_of(run_logits(takes.of_pixels(images)))}
        return found

    named = ((layer_in(layer.name), layer) for layer in flat.layers)
    tensors = {name: layer for name, layer in named if name}
    calls = {call.operation.name: call.outputs for call in calls_of(flat)}
    tensors = {name: calls[layer.name] for name, layer in tensors.items() if layer.name in calls}
    tensors = {name: found[0] for name, found in tensors.items() if len(found) == 1}
    taps = keras.Model(flat.inputs[0], tensors) if tensors else None

    def layers(images):
        found = taps.predict_on_batch(takes.of_pixels(images)) if taps else {}
        return {name: float32_of(found[name]) for name in tensors}

    return Artefact(
        source=source,
        kind="Keras, train form" if _is_train_form(flat) else "Keras",
        precision=_precision(flat),
        network=network,
        outputs=outputs,
        layers=layers,
    )


def _is_train_form(model: keras.Model) -> bool:
    return any(isinstance(layer, Classifier) for layer in model.layers)


def _before_activation(flat: keras.Model) -> keras.Model | None:
    """Returns a classifier up to its logits, if its last layer is only their activation, else None.

    Logits are compared because probabilities near 0 and 1 hide differences.
    """
    if not keras.utils.is_keras_tensor(flat.output):  # logits of two heads, or of exits
        return None
    last = last_call(flat)
    if last and is_activation(last.operation):
        return keras.Model(flat.inputs[0], last.inputs[0])
    return None


def _precision(model: keras.Model) -> Precision:
    found = {layer.compute_dtype for layer in model.layers}
    return next((p for p in (BFLOAT16, FLOAT16) if p.name in found), FLOAT32)
