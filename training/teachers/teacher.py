"""The teacher of distillation: any frozen classifier, as a function from images to logits.

A teacher from any kind of file takes the student's input, normalised pixels
(`levit_tf.preprocess_input`), and returns logits of the student's classes. Images are converted to
its size and range of values, and of its classes those of the student are selected. If a network
returns probabilities, their logarithm is used: at any temperature, its softmax equals that of the
logits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from levit_common.hub_addresses import is_hub_address
from levit_common.model_sources import is_plain_name
from levit_tf.applications import from_hub
from levit_tf.weights.hub.checkpoints import HubCheckpoint, open_hub_checkpoint
from levit_tf.weights.keras_files import load_keras_file, model_path
from training.teachers import foreign, reading
from training.teachers.classes import ClassMap, Names, class_map
from training.teachers.input_range import range_of, to_range
from training.teachers.labels import labels_beside, with_names
from training.teachers.reading import NAMES, Reading

_CHECKPOINTS = (".safetensors", ".pth", ".pt", ".bin")
_EXPECTED = (
    "Expected a .keras classifier or the folder of a run; an .onnx or .tflite classifier of any "
    "framework; a SavedModel directory as converters.to_saved_model writes it; a PyTorch "
    "checkpoint of regnety_160 or of "
    f"an EfficientNet-Lite ({', '.join(_CHECKPOINTS)}); hf://OWNER/NAME for a LeViT on the Hugging "
    f"Face hub; or NAME:FILE, where NAME is {' or '.join(NAMES)} and FILE such a checkpoint or a "
    ".keras file, of a RegNetY also a .weights.h5 file"
)


class Teacher:
    """A frozen classifier; made by `load_teacher`.

    It can be called eagerly, in a `tf.function`, compiled by XLA (unless `in_python`), and in the
    replicas of a strategy. No gradient flows through it.

    Attributes:
      source: path of its file, or its address on the hub with the commit.
      classes: number of classes that it returns logits of.
      network: the Keras model or the loaded file, kept because it owns the variables.
      notes: facts about it, for messages.
      in_python: whether it runs outside of TensorFlow, so that XLA cannot compile it.
    """

    def __init__(
        self,
        source: str,
        classes: int,
        network: Any,
        logits: Callable[[tf.Tensor], tf.Tensor],
        notes: Sequence[str] = (),
        in_python: bool = False,
    ):
        self.source = source
        self.classes = classes
        self.network = network
        self.notes = tuple(notes)
        self.in_python = in_python
        # A tf.function even for eager callers: Keras compiles a grouped convolution on every eager
        # call.
        self._logits = tf.function(logits, autograph=False)

    def __str__(self) -> str:
        return f"teacher {self.source}: {'; '.join(self.notes)}" if self.notes else ""

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Computes logits, up to a constant for each image.

        Args:
          images: (batch, height, width, channels), normalised pixels.

        Returns:
          (batch, classes), float32.
        """
        return tf.stop_gradient(tf.cast(self._logits(images), tf.float32))


def find_teacher(
    spec: str | os.PathLike | HubCheckpoint, address: str | None = None
) -> str | os.PathLike | HubCheckpoint:
    """Looks up a teacher, and checks as far as possible that it can be loaded.

    Args:
      spec: see `load_teacher`.
      address: an address on the hub to open in place of `spec`: the same one, with the commit that
        an earlier part of the run opened.

    Returns:
      `spec`; of the folder of a run its final network, of an address on the hub what it stands for.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError, PermissionError, ConnectionError: see `open_hub_checkpoint`.
      ValueError: the run is not finished; the repository contains no LeViT, or one without a
        classification head.
    """
    if not is_hub_address(spec):
        if isinstance(spec, HubCheckpoint):
            return spec
        path, name = teacher_file(spec)
        return f"{name}:{path}" if name else model_path(path)
    found = open_hub_checkpoint(address or spec)
    if found.info.classes is None:
        raise ValueError(
            f"teacher {found.address}: a LeViT without a classification head, which says nothing "
            "of classes. Choose a repository with one."
        )
    return found


def load_teacher(
    spec: str | os.PathLike | HubCheckpoint,
    input_size: tuple[int, int],
    classes: int | None,
    channels: int = 3,
    trust: bool = False,
    *,
    class_names: Names = (),
    class_file: str | None = None,
    preprocessing: str | None = None,
) -> Teacher:
    """Loads a teacher. Under a strategy, call it in the scope of the strategy.

    Args:
      spec: a file or directory. It may be the folder of a run, or a `.keras` file of any classifier
        that returns logits, probabilities, or the logits of LeViT's two heads, which are averaged;
        an `.onnx` or `.tflite` classifier; a SavedModel with the signature of
        `levit_common.shipped_names`; or a `.safetensors`, `.pth`, `.pt` or `.bin` checkpoint of
        timm's or DeiT's regnety_160 or of an EfficientNet-Lite. "regnety_160:FILE" names the
        network in FILE, which may then be a `.weights.h5` file, too. Or a LeViT on the Hugging Face
        hub, "hf://OWNER/NAME", optionally followed by "@REVISION"; or the result of `find_teacher`.
      input_size: (height, width) of the student's images, pixels.
      classes: number of the student's classes; None for logits of all the teacher's own.
      channels: number of channels of the student's images.
      trust: whether a SavedModel may contain operations that access files or run Python.
      class_names: all names of each class of the student; empty if unknown. Those of a teacher are
        in its file, or in a `labels.txt` beside it.
      class_file: see `training.teachers.classes.class_map`.
      preprocessing: range of the teacher's input, if its file does not specify it; see
        `parse_preprocessing`.

    Returns:
      A `Teacher`.

    Raises:
      FileNotFoundError: the file does not exist.
      ImportError: reading the file needs a package that is not installed.
      PermissionError, ConnectionError: see `open_hub_checkpoint`.
      ValueError: the file is damaged or of an unexpected kind, the range of its images is unknown,
        or its channels or classes are not those of the student; the message names the file and what
        was expected.
    """
    spec = find_teacher(spec)
    on_hub = isinstance(spec, HubCheckpoint)
    path, name = (str(spec.address), None) if on_hub else teacher_file(spec)
    suffix = os.path.splitext(path)[1].lower()
    if on_hub:
        found = reading.of_keras(from_hub(spec), path)
    elif suffix in _CHECKPOINTS:
        found = reading.read_checkpoint_teacher(path, name, input_size, channels)
    elif name:
        found = reading.read_named_teacher(path, name, (*input_size, channels), classes)
    elif os.path.isdir(path):
        found = reading.read_saved_model(path, trust)
    elif suffix == ".keras":
        found = reading.of_keras(load_keras_file(path), path)
    elif suffix == ".onnx":
        found = foreign.read_onnx(path, input_size)
    elif suffix == ".tflite":
        found = foreign.read_tflite(path, input_size)
    else:
        raise ValueError(f"teacher {path}: not a kind of file that is known. {_EXPECTED}.")
    size = _check(found, path, (*input_size, channels))
    takes = range_of(found, path, channels, preprocessing)
    chosen, which = None, f"all of its {found.answers[1]} classes"
    if classes is not None:
        labels = None if on_hub else labels_beside(path, class_file)
        found, named_by = with_names(found, labels)
        chosen, which = _classes_of(found, path, classes, class_names, class_file)
        which += named_by
    in_range = to_range(takes)

    def logits(images: tf.Tensor) -> tf.Tensor:
        if size is not None:
            images = tf.image.resize(images, size, "bicubic", antialias=True)
        y = found.scores(in_range(images))
        y = _log(y) if found.is_probability else tf.cast(y, tf.float32)
        return y if chosen is None else chosen(y)

    notes = [
        f"takes {takes}" + (f", resized to {size[0]}x{size[1]}" if size else ""),
        f"gives {'probabilities' if found.is_probability else 'logits'} of {which}",
    ]
    count = found.answers[1] if classes is None else classes
    return Teacher(path, count, found.network, logits, notes, found.in_python)


def teacher_file(spec: str | os.PathLike) -> tuple[str, str | None]:
    """Splits a teacher's specification into its file and, if given, the name of its network.

    Args:
      spec: see `load_teacher`; not on the hub.

    Raises:
      FileNotFoundError: the file does not exist.
    """
    name, _, rest = os.fspath(spec).partition(":")
    name = name if rest and name in NAMES else None
    path = rest if name else os.fspath(spec)
    if not os.path.exists(path):
        advice = " To learn from the weights of a variant, save its network and give its file."
        raise FileNotFoundError(
            f"teacher {os.fspath(spec)!r}: no such file. {_EXPECTED}."
            f"{advice if is_plain_name(path) else ''}"
        )
    return path, name


def _classes_of(
    found: Reading, path: str, classes: int, names: Names, file: str | None
) -> tuple[ClassMap | None, str]:
    """Returns the map to the student's classes, None if they are the same, and a text about it."""
    if names or file is not None:
        names = names or [(str(number),) for number in range(classes)]
        return class_map(
            names, found.answers[1], own=found.class_names, file=file, teacher=f"teacher {path}"
        )
    if found.answers[1] != classes:
        raise ValueError(
            f"teacher {path}: returns an output of shape {tuple(found.answers)}; the student's "
            f"classes need {(None, classes)}. A teacher must have been trained on the same classes."
        )
    return None, "as many classes"


def _check(found: Reading, path: str, shape: tuple[int, int, int]) -> tuple[int, int] | None:
    """Checks the input and output shapes of a teacher.

    Returns:
      The size to which images must be resized; None if the student's size fits.

    Raises:
      ValueError: it does not accept images like the student's, or is not a classifier.
    """
    images, answers = tuple(found.images), tuple(found.answers)
    if len(images) != 4 or images[3] not in (None, shape[2]):
        raise ValueError(
            f"teacher {path}: takes images (batch, height, width, channels) of shape {images}; the "
            f"student's are {(None, *shape)}."
        )
    if images[0] is not None:
        raise ValueError(
            f"teacher {path}: takes batches of {images[0]} images only. Export it for any batch "
            "size."
        )
    if len(answers) != 2 or answers[1] is None:
        raise ValueError(
            f"teacher {path}: returns an output of shape {answers}. Expected (batch, classes)."
        )
    size = tuple(side or own for side, own in zip(images[1:3], shape, strict=False))
    return None if size == shape[:2] else size


def _log(probabilities: tf.Tensor) -> tf.Tensor:
    """Returns log-probabilities, with 0 as the smallest normal number: its logarithm is -87."""
    probabilities = tf.cast(probabilities, tf.float32)
    return tf.math.log(tf.maximum(probabilities, np.finfo(np.float32).tiny))
