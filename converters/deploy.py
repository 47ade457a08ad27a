"""From any model with a LeViT in it to the graph that is shipped: the one place where it is made.

Whatever leaves this package for a server or a phone is `deploy_graph(model)` in some file format,
so there is one thing to make fast, to verify and to quantise. It computes what the model does, on
plain pixels: layers before and after the LeViT are part of it, and normalisation is put in front
only where the model says that it takes normalised pixels.
"""

from __future__ import annotations

import keras
import numpy as np

from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES
from levit_tf.fusion import rewritten
from levit_tf.heads import with_heads
from levit_tf.keras_graph.endings import LINEAR, SOFTMAX, ending_of, has_two_heads, have_exits
from levit_tf.keras_graph.flatten import as_functional, flatten, is_inactive
from levit_tf.keras_graph.introspection import classifier_of
from levit_tf.keras_graph.notes import note_kind
from levit_tf.keras_graph.properties import front_of, known_input_range
from levit_tf.names import WHOLE
from levit_tf.prediction.network_files import output_names
from levit_tf.preprocessing import INPUT_RANGES

GRAPH_NAME = "deploy"
NORMALIZE = "normalize"
# Last layers of which the logits can be told apart from what is made of them.
_ENDINGS = (keras.layers.Activation, keras.layers.Softmax, keras.layers.Dense)


def deploy_graph(
    model: keras.Model,
    batch_size: int | None = None,
    input_range: str | None = None,
    is_open: bool = False,
) -> keras.Model:
    """Builds the graph that is shipped: fused, normalisation in front, named outputs.

    Args:
      model: a functional model or a built Sequential of one image: a LeViT in train form with
        whichever heads, one that is fused already, or a model with one in it. It is not changed. Of
        two heads the mean of the logits is taken, of one with exits the whole network.
      batch_size: images in a batch, where a format needs the number to be fixed.
      input_range: what the model takes, where its graph does not say it: a name of
        `levit_tf.preprocessing.INPUT_RANGES`.
      is_open: whether the format takes a network for pictures of every size.

    Returns:
      A model of built-in layers, which share nothing with `model`. Input "images": (batch, height,
      width, channels) float32, plain pixels 0..255. Outputs of a classifier, of shape (batch,
      classes): "logits", and "probabilities", which are the model's own activation of them, softmax
      where it has none; other outputs have the names of
      `levit_tf.prediction.network_files.output_names`.

    Raises:
      ValueError: `model` is of another kind or size, or nothing says what it takes.
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
    """The graph of a network with exits that is shipped.

    Args:
      model: a result of `levit_tf.dynamic.exits.add_exits`, in train or deploy form.
      batch_size: see `deploy_graph`.
      input_range: see `deploy_graph`.

    Returns:
      As of `deploy_graph`, but the outputs are the logits of `model`, by their names.
    """

    def core(model, front):
        return rewritten(model, lambda layer: _is_left_out(layer, front)), None

    core, _, images, x = _on_pixels(model, batch_size, input_range, core)
    return keras.Model(images, core(x), name=GRAPH_NAME)


def _on_pixels(model, batch_size, input_range, make_core, is_open=False):
    """(core, activation, pixels, what of them goes into the core); see `_core`."""
    takes = known_input_range(model, input_range, f"Model {model.name!r}")
    height, width, channels = _image_shape(model, is_open)
    front = front_of(flatten(model))
    core, activation = make_core(model, front.operations if front.is_scaling else frozenset())
    images = x = keras.Input(
        batch_shape=(batch_size, height, width, channels), name=INPUT, dtype="float32"
    )
    # Pixels become what the model takes, (x / 255 - mean) / std, and scaling layers that the model
    # begins with are part of the same.
    scale, offset = 1 / (255 * np.array(takes.std)), -np.array(takes.mean) / np.array(takes.std)
    if takes == INPUT_RANGES["pixels"].of_channels(channels):
        scale, offset = np.ones(channels), np.zeros(channels)
    if front.is_scaling:
        scale, offset = scale * front.slope, offset * front.slope + front.offset
    if (scale != 1).any() or offset.any():
        x = keras.layers.Rescaling(scale.tolist(), offset.tolist(), name=NORMALIZE)(x)
    return core, activation, images, x


def core_of(graph: keras.Model) -> keras.Model:
    """The network inside of a deploy graph, between the normalisation and the last activation."""
    (core,) = (layer for layer in graph.layers if isinstance(layer, keras.Model))
    return core


def layer_or_none(graph: keras.Model, name: str) -> keras.layers.Layer | None:
    """A layer of a deploy graph that not every one has: `NORMALIZE` or `PROBABILITIES`."""
    return next((layer for layer in graph.layers if layer.name == name), None)


def class_count(model: keras.Model) -> int | None:
    """Number of classes of a classifier, or of a deploy graph of one; None for other models."""
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
    """The fused network, a classifier's up to its logits, and the activation that follows.

    The activation is None where there is nothing to separate: then the outputs have their names.

    Args:
      model: see `deploy_graph`.
      front: names of the operations that are left out.
    """
    if have_exits(as_functional(model).output):
        model = keras.Model(model.input, model.output[WHOLE], name=model.name)
    if has_two_heads(as_functional(model)) and classifier_of(model) is not None:
        model = with_heads(model, "average")  # which is one linear head when it is fused
    names, ending = output_names(model), ending_of(model)
    core = rewritten(model, lambda layer: _is_left_out(layer, front))
    if has_two_heads(core):
        logits = keras.layers.Average(name="average_heads")(list(core.output.values()))
        return keras.Model(core.inputs[0], logits, name=model.name), SOFTMAX
    last = core.operations[-1]
    if ending is None or (ending != LINEAR and not isinstance(last, _ENDINGS)):
        outputs = dict(zip(names, core.outputs, strict=True))
        return keras.Model(core.inputs[0], outputs, name=model.name), None
    logits, activation = core.outputs[0], ending
    if isinstance(last, keras.layers.Activation):
        logits = last.input
        activation = SOFTMAX if ending == LINEAR else last.activation
    elif isinstance(last, keras.layers.Softmax):
        logits = last.input
    elif ending == LINEAR:
        activation = SOFTMAX
    else:  # inside of a dense layer, which is a copy
        last.activation = keras.activations.linear
    return keras.Model(core.inputs[0], logits, name=model.name), activation


def _is_left_out(layer: keras.layers.Layer, front: frozenset[str]) -> bool:
    return layer.name in front or note_kind(layer) is not None or is_inactive(layer)
