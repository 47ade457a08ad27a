"""Reads a teacher's file: Keras models, SavedModels of this package, PyTorch checkpoints."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES, SIGNATURE
from levit_tf.keras_graph.endings import has_two_heads, mean_of_heads
from levit_tf.keras_graph.flatten import as_functional, flatten
from levit_tf.keras_graph.properties import model_properties
from levit_tf.prediction.network_files import open_saved_model, saved_model_labels
from levit_tf.preprocessing import INPUT_RANGES, InputRange
from levit_tf.teachers.efficientnet_lite import (
    EFFICIENTNET_LITES,
    efficientnet_lite_from_state_dict,
)
from levit_tf.teachers.efficientnet_lite import FIRST_KEY as EFFICIENTNET_KEY
from levit_tf.teachers.regnet import REGNETS, REGNETY_160, RegNetY, regnet_from_state_dict
from levit_tf.weights.checkpoint_files import read_checkpoint
from levit_tf.weights.keras_files import ends_in_softmax, load_keras_file
from levit_tf.weights.pytorch_recognition import is_levit

Shape = tuple[int | None, ...]
NAMES = (*REGNETS, *EFFICIENTNET_LITES)


@dataclasses.dataclass(frozen=True)
class Reading:
    """A classifier read from a file.

    Attributes:
      network: the object that owns the weights.
      scores: function from images (batch, *size, channels), in the range `takes`, to scores (batch,
        classes), in a graph.
      images: shape of the images, (batch, height, width, channels); None where any size is
        accepted.
      answers: shape of the scores, (batch, classes).
      takes: range of the images' values; None if the file does not specify it.
      is_probability: whether the scores are probabilities, not logits.
      class_names: names of the outputs in their order; None if the file does not have them.
      in_python: whether `scores` runs outside of TensorFlow, so that XLA cannot compile it.
    """

    network: Any
    scores: Callable[[tf.Tensor], tf.Tensor]
    images: Shape
    answers: Shape
    takes: InputRange | None = None
    is_probability: bool = False
    class_names: tuple[str, ...] | None = None
    in_python: bool = False


def read_checkpoint_teacher(
    path: str, name: str | None, size: tuple[int, int], channels: int
) -> Reading:
    """Reads a PyTorch checkpoint of a network that `levit_tf.teachers` knows.

    Args:
      path: the file.
      name: name of the network, one of `NAMES`; None to detect it from the keys (by default
        RegNetY-16GF).
      size: (height, width) of the images for which to build a network that accepts any size,
        pixels.
      channels: number of channels of the images.
    """
    state = read_checkpoint(path)
    if name in EFFICIENTNET_LITES or (
        name is None and any(key.endswith(EFFICIENTNET_KEY) for key in state)
    ):
        model = efficientnet_lite_from_state_dict(
            state, config=EFFICIENTNET_LITES.get(name), source=path
        )
    elif name is None and is_levit(state):
        raise ValueError(
            f"teacher {path}: a checkpoint of a LeViT. python -m converters.from_pytorch "
            f"--checkpoint={shlex.quote(path)} --output=FILE.keras makes a file that can teach."
        )
    else:
        config = REGNETS.get(name, REGNETY_160)
        model = regnet_from_state_dict(config, state, (*size, channels), source=path)
    return of_keras(model, path)


def read_named_teacher(
    path: str, name: str, shape: tuple[int, int, int], classes: int | None
) -> Reading:
    """Reads a Keras file of a RegNetY and rebuilds it, so that it accepts images of any size."""
    if name not in REGNETS:
        return of_keras(load_keras_file(path), path)
    if classes is None:
        raise ValueError(
            f"teacher {path}: with teacher_head, nothing says how many classes a {name} in this "
            "file has. Take its PyTorch checkpoint, or leave teacher_head out."
        )
    return of_keras(RegNetY(REGNETS[name], shape, classes, weights=path), path)


def of_keras(model: keras.Model, path: str) -> Reading:
    """Reads a Keras classifier that returns logits, also of two heads, or probabilities.

    Raises:
      ValueError: it is another kind of model.
    """
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"teacher {path}: expected a Keras model with one input, the image.")
    model.trainable = False
    model = flatten(model) if isinstance(model, keras.Sequential) else as_functional(model)
    properties, output = model_properties(model), model.output
    is_probability = False
    if has_two_heads(model):
        output = output["head"]
    elif keras.utils.is_keras_tensor(output):
        is_probability = ends_in_softmax(model, f"teacher {path}")
    else:
        found = sorted(output) if isinstance(output, dict) else f"{len(output)} outputs"
        raise ValueError(
            f'teacher {path}: expected one output, or the two heads "head" and "head_dist". '
            f"Found: {found}"
        )
    return Reading(
        model,
        lambda images: mean_of_heads(model(images, training=False)),
        tuple(model.inputs[0].shape),
        tuple(output.shape),
        properties.input_range,
        is_probability,
        properties.class_names,
    )


def read_saved_model(path: str, trust: bool) -> Reading:
    """Reads a SavedModel as written by `converters.to_saved_model`."""
    loaded, image = open_saved_model(Path(path), trust, "--set=trust_teacher=true")
    signature = loaded.signatures[SIGNATURE]
    outputs = signature.structured_outputs
    name = next((name for name in (LOGITS, PROBABILITIES) if name in outputs), None)
    if image.dtype != tf.float32 or name is None:
        found = {key: value.dtype.name for key, value in {INPUT: image, **outputs}.items()}
        raise ValueError(
            f"teacher {path}: expected the input {INPUT!r}, float32, and the output {LOGITS!r} or "
            f"{PROBABILITIES!r}, as this package exports. Found: {found}"
        )
    # `loaded` is kept: a signature alone does not keep the variables of its model alive.
    return Reading(
        loaded,
        lambda images: signature(**{INPUT: images})[name],
        tuple(image.shape),
        tuple(outputs[name].shape),
        INPUT_RANGES["pixels"],
        name == PROBABILITIES,
        saved_model_labels(Path(path)),
    )
