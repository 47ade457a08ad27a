"""Builds the deploy graph, from which every export is made, for any model that contains a LeViT.

Every file for a server or a phone is `deploy_graph(model)` in some format, so there is only one
graph to optimise, verify and quantise. It computes the same as the model, but on plain pixels: it
includes the layers before and after the LeViT, and adds normalisation at the beginning only if the
model notes that it takes normalised pixels.
"""

from __future__ import annotations

import keras
import numpy as np

from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES
from levit_tf.fusion import rewritten
from levit_tf.heads import with_heads
from levit_tf.keras_graph.endings import (
    LINEAR,
    SOFTMAX,
    ending_of,
    has_two_heads,
    have_exits,
    is_activation,
    last_call,
)
from levit_tf.keras_graph.flatten import as_functional, flatten, is_inactive, with_float_input
from levit_tf.keras_graph.front import front_of
from levit_tf.keras_graph.introspection import classifier_of
from levit_tf.keras_graph.notes import note_kind
from levit_tf.keras_graph.properties import known_input_range
from levit_tf.names import WHOLE
from levit_tf.prediction.network_files import output_names
from levit_tf.preprocessing import INPUT_RANGES

GRAPH_NAME = "deploy"
NORMALIZE = "normalize"


def deploy_graph(
    model: keras.Model,
    batch_size: int | None = None,
    input_range: str | None = None,
    is_open: bool = False,
) -> keras.Model:
    """Builds the deploy graph: fused layers, normalisation at the beginning, named outputs.

    Args:
      model: a functional model or a built Sequential with one image as its input: a LeViT in train
        form with any heads, a fused LeViT, or a model that contains one. It is not changed. The
        logits of two heads are averaged; of a model with exits the whole network is used.
      batch_size: batch size, if a format needs a fixed one.
      input_range: input range of a model whose graph does not note it: a name in
        `levit_tf.preprocessing.INPUT_RANGES`.
      is_open: whether the format supports networks for pictures of every size.

    Returns:
      A model of built-in layers that shares nothing with `model`. Input "images": float32 (batch,
      height, width, channels), plain pixels 0..255. Outputs of a classifier, of shape (batch,
      classes): "logits", and "probabilities", the model's own activation of the logits, or softmax
      if it has none. Other outputs are named as by
      `levit_tf.prediction.network_files.output_names`.

    Raises:
      ValueError: `model` is of another kind or size, or its input range is not known.
    """
    core, activation, images, x = _on_pixels(model, batch_size, input_range, _core, is_open)
    outputs = core(x)
    if activation is None:
        return keras.Model(images, outputs, name=GRAPH_NAME)
    probabilities = keras.layers.Activation(activation, name=PROBABILITIES)(outputs)
    return keras.Model(images, {LOGITS: outputs, PROBABILITIES: probabilities}, name=GRAPH_NAME)


def deploy_exits(
    model: keras.Model, batch_size: int | None = None, input_range: str | None = None
) -> keras.Model:
    """Builds the deploy graph of a network with exits.

    Args:
      model: a result of `levit_tf.dynamic.exits.add_exits`, in train or deploy form.
      batch_size: see `deploy_graph`.
      input_range: see `deploy_graph`.

    Returns:
      A model as in `deploy_graph`, but the outputs are the logits of `model`, by their names.
    """

    def core(model, front):
        return rewritten(model, lambda layer: _is_left_out(layer, front)), None

    core, _, images, x = _on_pixels(model, batch_size, input_range, core)
    return keras.Model(images, core(x), name=GRAPH_NAME)


def _on_pixels(model, batch_size, input_range, make_core, is_open=False):
    """Returns (core, activation, input pixels, input of the core); see `_core`."""
    takes = known_input_range(model, input_range, f"Model {model.name!r}")
    height, width, channels = _image_shape(model, is_open)
    model = with_float_input(model)
    front = front_of(flatten(model))
    core, activation = make_core(model, front.operations if front.is_scaling else frozenset())
    images = x = keras.Input(
        batch_shape=(batch_size, height, width, channels), name=INPUT, dtype="float32"
    )
    # Convert pixels to the model's input range, (x / 255 - mean) / std; scaling layers at the
    # beginning of the model are included.
    scale, offset = 1 / (255 * np.array(takes.std)), -np.array(takes.mean) / np.array(takes.std)
    if takes == INPUT_RANGES["pixels"].of_channels(channels):
        scale, offset = np.ones(channels), np.zeros(channels)
    if front.is_scaling:
        scale, offset = scale * front.slope, offset * front.slope + front.offset
    if (scale != 1).any() or offset.any():
        x = keras.layers.Rescaling(scale.tolist(), offset.tolist(), name=NORMALIZE)(x)
    return core, activation, images, x


def core_of(graph: keras.Model) -> keras.Model:
    """Returns the network in a deploy graph, between normalisation and last activation."""
    (core,) = (layer for layer in graph.layers if isinstance(layer, keras.Model))
    return core


def layer_or_none(graph: keras.Model, name: str) -> keras.layers.Layer | None:
    """Returns an optional layer of a deploy graph, `NORMALIZE` or `PROBABILITIES`, or None."""
    return next((layer for layer in graph.layers if layer.name == name), None)


def class_count(model: keras.Model) -> int | None:
    """Returns the number of classes of a classifier or its deploy graph; None for other models."""
    if isinstance(model.output, dict) and {LOGITS, PROBABILITIES} & set(model.output):
        output = model.output.get(LOGITS, model.output.get(PROBABILITIES))
    elif ending_of(model) is None:
        return None
    else:
        output = model.outputs[0]
    return output.shape[-1]


def _image_shape(model: keras.Model, is_open: bool) -> tuple[int | None, int | None, int]:
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    needed = slice(3, None) if is_open else slice(1, None)
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][needed]:
        raise ValueError(
            f"Model {model.name!r} cannot be exported: expected one input (batch, height, width, "
            f"channels) of images of {'any' if is_open else 'a fixed'} size. Received: {shapes}"
            + ("" if is_open else ". levit_tf.with_input_size fixes it.")
        )
    return shapes[0][1:]


def _core(model: keras.Model, front: frozenset[str]) -> tuple[keras.Model, object]:
    """Returns the fused network, for a classifier up to its logits, and the activation after it.

    The activation is None if the outputs are not split; then the network's outputs are named.

    Args:
      model: see `deploy_graph`.
      front: names of the operations to leave out.
    """
    if have_exits(as_functional(model).output):
        model = keras.Model(model.input, model.output[WHOLE], name=model.name)
    if has_two_heads(as_functional(model)) and classifier_of(model) is not None:
        model = with_heads(model, "average")  # fusing turns it into a single linear head
    names, ending = output_names(model), ending_of(model)
    core = rewritten(model, lambda layer: _is_left_out(layer, front))
    if has_two_heads(core):
        logits = keras.layers.Average(name="average_heads")(list(core.output.values()))
        return keras.Model(core.inputs[0], logits, name=model.name), SOFTMAX
    last = None if ending is None else last_call(core)
    is_dense = last is not None and isinstance(last.operation, keras.layers.Dense)
    if last is None or not (ending == LINEAR or is_dense or is_activation(last.operation)):
        outputs = dict(zip(names, core.outputs, strict=True))
        return keras.Model(core.inputs[0], outputs, name=model.name), None
    (logits,), activation = last.outputs, SOFTMAX if ending == LINEAR else ending
    if isinstance(last.operation, keras.layers.Activation):
        (logits,), activation = last.inputs, last.operation.activation
    elif is_activation(last.operation):
        (logits,) = last.inputs
    elif ending != LINEAR:  # the activation is part of a dense layer, which is a copy
        last.operation.activation = keras.activations.linear
    return keras.Model(core.inputs[0], logits, name=model.name), activation


def _is_left_out(layer: keras.layers.Layer, front: frozenset[str]) -> bool:
    return layer.name in front or note_kind(layer) is not None or is_inactive(layer)
