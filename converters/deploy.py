"""From any LeViT to the graph that is shipped: the one place where it is put together.

Whatever leaves this package for a server or a phone is `deploy_graph(model)` in some file format,
so there is one thing to make fast, to verify and to quantise.
"""

from __future__ import annotations

import keras
import numpy as np

import levit_tf
from levit_tf.attention import Attention
from levit_tf.introspection import classifier_of
from levit_tf.layers import Classifier, ConvBN
from levit_tf.model import PREDICTIONS
from levit_tf.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from levit_tf.signatures import INPUT, LOGITS, PROBABILITIES

GRAPH_NAME = "deploy"
NORMALIZE = "normalize"


def deploy_graph(model: keras.Model, batch_size: int | None = None) -> keras.Model:
    """Builds the graph that is shipped: fused, normalisation in front, named outputs.

    Args:
      model: a LeViT with its top, in train form with whichever heads, or fused already. It is not
        changed. Of two heads the mean of the logits is taken.
      batch_size: images in a batch, where a format needs the number to be fixed.

    Returns:
      A model of built-in layers. Input "images": (batch, height, width, 3) float32, plain RGB
      0..255. Outputs, of shape (batch, classes): "logits", and "probabilities", which are the
      model's own activation of them, softmax where it has none.

    Raises:
      ValueError: `model` is not a LeViT, has no top, or does not take RGB pictures.
    """
    height, width = _image_size(model)
    core, activation = _logits(model)
    images = keras.Input(batch_shape=(batch_size, height, width, 3), name=INPUT, dtype="float32")
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    # (x / 255 - mean) / std
    x = keras.layers.Rescaling(
        scale=(1 / (255 * std)).tolist(), offset=(-mean / std).tolist(), name=NORMALIZE
    )(images)
    logits = core(x)
    probabilities = keras.layers.Activation(activation, name=PROBABILITIES)(logits)
    return keras.Model(images, {LOGITS: logits, PROBABILITIES: probabilities}, name=GRAPH_NAME)


def class_count(model: keras.Model) -> int:
    """Number of classes of a LeViT of either form, with its top."""
    outputs = model.output.values() if isinstance(model.output, dict) else [model.output]
    return next(iter(outputs)).shape[-1]


def _image_size(model: keras.Model) -> tuple[int, int]:
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3 or None in shapes[0][1:]:
        raise ValueError(
            f"Model {model.name!r} cannot be exported: expected one input (batch, height, width, "
            f"3) of RGB pictures of a fixed size. Received: {shapes}"
        )
    return shapes[0][1:3]


def _logits(model: keras.Model) -> tuple[keras.Model, object]:
    """The fused network up to its logits, and the activation that follows."""
    if isinstance(model, keras.Sequential):  # which has no `output`
        model = keras.Model(model.inputs, model.outputs[0], name=model.name)
    if any(isinstance(layer, (Attention, ConvBN, Classifier)) for layer in model.layers):
        head = classifier_of(model)
        if head is None:
            raise ValueError(
                f"Model {model.name!r} has no classification heads, so there are no probabilities "
                "to export; levit_tf.reset_classifier() adds heads."
            )
        if head.heads == "both":
            model = levit_tf.with_heads(model, "average")
        model = levit_tf.fuse(model)
    if isinstance(model.output, dict):  # fused with heads="both"
        mean = keras.layers.Average(name="average_heads")(list(model.output.values()))
        return keras.Model(model.inputs, mean, name=model.name), "softmax"
    last = model.get_layer(PREDICTIONS) if _has_predictions(model) else None
    if not isinstance(last, keras.layers.Activation):
        raise ValueError(
            f"Model {model.name!r} is no LeViT with a top: it does not end in an activation layer "
            f"named {PREDICTIONS!r}."
        )
    linear = last.activation is keras.activations.linear
    activation = "softmax" if linear else last.activation
    return keras.Model(model.inputs, last.input, name=model.name), activation


def _has_predictions(model: keras.Model) -> bool:
    return any(layer.name == PREDICTIONS for layer in model.layers)
