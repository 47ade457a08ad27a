"""The teacher of distillation: any frozen classifier, as a function from images to logits.

Whatever file it comes from, a teacher takes what the student takes, normalised pixels
(`levit_tf.preprocess_input`), and gives logits; a network whose graph says that it takes other
values (`levit_tf.model_properties`) gets those. Where a network gives probabilities their logarithm
is taken: its softmax, at any temperature, is that of the logits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES, SIGNATURE
from levit_tf.keras_graph.endings import has_two_heads, mean_of_heads
from levit_tf.keras_graph.properties import known_input_range
from levit_tf.prediction.network_files import open_saved_model
from levit_tf.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INPUT_RANGES,
    InputRange,
    denormalize,
)
from levit_tf.teachers.regnet import REGNETS, REGNETY_160, RegNetY, regnet_from_state_dict
from levit_tf.weights.checkpoint_files import read_checkpoint
from levit_tf.weights.keras_files import ends_in_softmax, load_keras_file

_NORMALIZED = INPUT_RANGES["normalized"]  # what students take
_CHECKPOINTS = (".safetensors", ".pth", ".pt", ".bin")
_EXPECTED = (
    "Expected a .keras classifier; a SavedModel directory as converters.to_saved_model writes it; "
    f"a PyTorch checkpoint of {REGNETY_160.name} ({', '.join(_CHECKPOINTS)}); or NAME:FILE, where "
    f"NAME is {' or '.join(REGNETS)} and FILE any of these files or .weights.h5"
)


class Teacher:
    """A frozen classifier; made by `load_teacher`.

    Calling it works eagerly, in a `tf.function`, compiled by XLA, and in the replicas of a
    strategy. No gradient flows through it.

    Attributes:
      source: where it is from.
      network: the Keras model or the loaded SavedModel, kept since it owns the variables.
    """

    def __init__(self, source: str, network: Any, logits: Callable[[tf.Tensor], tf.Tensor]):
        self.source = source
        self.network = network
        # Compiled even for eager callers: Keras compiles a grouped convolution on every eager call.
        self._logits = tf.function(logits, autograph=False)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Logits, up to a constant for each image.

        Args:
          images: (batch, height, width, channels), normalised pixels.

        Returns:
          (batch, classes), float32.
        """
        return tf.stop_gradient(tf.cast(self._logits(images), tf.float32))


def load_teacher(
    spec: str | os.PathLike,
    input_size: tuple[int, int],
    classes: int,
    channels: int = 3,
    trust: bool = False,
) -> Teacher:
    """Loads a teacher. Under a strategy, call it in the scope of the strategy.

    Args:
      spec: a file or directory, by its kind: a `.keras` file of any classifier that says what it
        takes and returns logits, probabilities, or the logits of LeViT's two heads, which are
        averaged; a SavedModel with the signature of `levit_common.shipped_names`; a `.safetensors`,
        `.pth`, `.pt` or `.bin` checkpoint of timm's or DeiT's regnety_160. "regnety_160:FILE" says
        that FILE, which may then be `.weights.h5` too, is one.
      input_size: (height, width) of the student's images, pixels.
      classes: number of the student's classes.
      channels: of the student's images.
      trust: whether a SavedModel may have operations that reach beyond it.

    Returns:
      A `Teacher`.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: reading the file needs a package that is not installed.
      ValueError: the file is damaged or something else than expected, or its images or classes are
        not the student's; the message names the file and what was expected.
    """
    name, _, rest = os.fspath(spec).partition(":")
    config = REGNETS.get(name) if rest else None
    path = rest if config else os.fspath(spec)
    if not os.path.exists(path):
        raise FileNotFoundError(f"teacher {os.fspath(spec)!r}: no such file. {_EXPECTED}.")
    shape = (*input_size, channels)
    if path.endswith(_CHECKPOINTS):
        state = read_checkpoint(path)
        model = regnet_from_state_dict(config or REGNETY_160, state, shape, source=path)
        teacher, found = _keras_teacher(model, path, _NORMALIZED)
    elif config:
        # Rebuilt rather than loaded, so that a file saved for one size serves every other.
        model = RegNetY(config, shape, classes, weights=path)
        teacher, found = _keras_teacher(model, path, _NORMALIZED)
    elif os.path.isdir(path):
        teacher, found = _saved_model_teacher(path, trust)
    elif path.endswith(".keras"):
        teacher, found = _keras_teacher(load_keras_file(path), path)
    else:
        raise ValueError(f"teacher {path}: not a kind of file that is known. {_EXPECTED}.")
    _check(path, *found, shape, classes)
    return teacher


# A teacher as found in a file, with the shapes of its images and of its logits.
_Found = tuple[Teacher, tuple[Sequence[int | None], Sequence[int | None]]]


def _check(
    path: str,
    images: Sequence[int | None],
    logits: Sequence[int | None],
    shape: tuple[int, int, int],
    classes: int,
) -> None:
    """Raises ValueError unless images of `shape`, in batches of any size, give `classes` logits."""
    images, logits = tuple(images), tuple(logits)
    fits = len(images) == 4 and all(
        found in (None, wanted) for found, wanted in zip(images[1:], shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"teacher {path}: takes images (batch, height, width, channels) of shape {images}; the "
            f"student's are {(None, *shape)}. Give a teacher for this size, or set the size of the "
            "student's images."
        )
    if images[0] is not None:
        raise ValueError(
            f"teacher {path}: takes batches of {images[0]} images only. Export it for any batch "
            "size."
        )
    if logits != (None, classes):
        raise ValueError(
            f"teacher {path}: returns an output of shape {logits}; the student's classes need "
            f"{(None, classes)}. A teacher must have been trained on the same classes."
        )


def _keras_teacher(model: keras.Model, path: str, takes: InputRange | None = None) -> _Found:
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"teacher {path}: expected a Keras model with one input, the image.")
    if takes is None:
        takes = known_input_range(model, None, f"teacher {path}")
    model.trainable = False
    adapted = _adapted(takes)
    output = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    finish = mean_of_heads
    if has_two_heads(model):
        output = output["head"]
    elif keras.utils.is_keras_tensor(output):
        if ends_in_softmax(model, f"teacher {path}"):
            finish = _log
    else:
        found = sorted(output) if isinstance(output, dict) else f"{len(output)} outputs"
        raise ValueError(
            f'teacher {path}: expected one output, or the two heads "head" and "head_dist". '
            f"Found: {found}"
        )

    def logits(images):
        return finish(model(adapted(images), training=False))

    return Teacher(path, model, logits), (model.inputs[0].shape, output.shape)


def _saved_model_teacher(path: str, trust: bool) -> _Found:
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
    finish = tf.identity if name == LOGITS else _log

    def logits(images):
        return finish(signature(**{INPUT: denormalize(images)})[name])

    # `loaded` is kept: a signature does not keep the variables of its model alive.
    return Teacher(path, loaded, logits), (image.shape, outputs[name].shape)


def _adapted(takes: InputRange) -> Callable[[tf.Tensor], tf.Tensor]:
    """What turns the student's normalised images into what a teacher takes."""
    if takes == _NORMALIZED.of_channels(len(takes.mean)):
        return tf.identity
    if len(takes.mean) != 3:
        return tf.identity  # refused later, for its channels
    # ((pixels / 255) - mean) / std, where pixels / 255 = images * STD + MEAN.
    slope = np.float32(IMAGENET_STD) / np.float32(takes.std)
    offset = (np.float32(IMAGENET_MEAN) - np.float32(takes.mean)) / np.float32(takes.std)
    return lambda images: tf.cast(images, tf.float32) * slope + offset


def _log(probabilities: tf.Tensor) -> tf.Tensor:
    """Log-probabilities; zero counts as the smallest normal number, whose logarithm is -87."""
    probabilities = tf.cast(probabilities, tf.float32)
    return tf.math.log(tf.maximum(probabilities, np.finfo(np.float32).tiny))
