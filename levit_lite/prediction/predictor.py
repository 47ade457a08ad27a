"""Classifiers: probabilities for pictures, and the names of the classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import EXIT
from levit_lite.class_names import (
    LABELS_FILE,
    check_class_names,
    imagenet_class_names,
    read_labels,
)
from levit_lite.prediction.network import Network, checked, probabilities_in
from levit_lite.prediction.tflite_network import tflite_network

# Images that go through a network at once where its file does not say: enough to keep a CPU busy.
BATCH_SIZE = 32


class Predictor:
    """Classifies pictures; made by `load_predictor`.

    Attributes:
      input_size: (height, width) of the pictures it takes, pixels.
      classes: number of classes.
      class_names: their names, in the order of the probabilities.
      has_exits: whether it is a dynamic file, which tells which step has answered.
    """

    def __init__(self, network: Network, class_names: Sequence[str], name: str = "the network"):
        self._name = name
        self._network = network
        self._batch_size = network.input_shape[0]
        self.input_size = network.input_shape[1:3]
        self.classes = class_count(network)
        self.class_names = list(class_names)
        self.has_exits = EXIT in network.output_shapes

    def predict(self, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities of the classes.

        Args:
          images: (n, *input_size, 3), RGB values 0..255 of any integer or floating type, such as
            `levit_tf.pictures.images.load_images` returns; or a list of n such images.

        Returns:
          float32 of shape (n, classes), rows adding up to 1 (about, if the network is quantised).

        Raises:
          ValueError: `images` has another shape; or the network answers with NaN.
        """
        return self.predict_with_exits(images)[0]

    def predict_with_exits(
        self, images: np.ndarray | Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities as of `predict`, and which step of a dynamic file gave them.

        Returns:
          (n, classes) and (n,), numbers from 0; None in its place of a file without steps.
        """
        images = np.asarray(images)
        expected = (*self.input_size, 3)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(
                f"predict takes images of shape (n, {', '.join(map(str, expected))}). "
                f"Received: shape {images.shape}"
            )
        rows = [np.zeros((0, self.classes), np.float32)]
        exits = [np.zeros(0, np.int64)]
        step = self._batch_size or BATCH_SIZE
        for start in range(0, len(images), step):
            batch = images[start : start + step].astype(np.float32)
            count = len(batch)
            if self._batch_size is not None:
                batch = np.pad(batch, [(0, step - count), (0, 0), (0, 0), (0, 0)])
            found = self._network.outputs(batch)
            scores = probabilities_in(found)[:count].astype(np.float32)
            exits.append(found.get(EXIT, np.zeros(0))[:count].astype(np.int64))
            # One output of a sigmoid is the probability of the second of two classes.
            rows.append(scores if scores.shape[1] > 1 else np.concatenate([1 - scores, scores], 1))
        scores = np.concatenate(rows)
        if bad := np.count_nonzero(~np.isfinite(scores).all(axis=1)):
            raise ValueError(
                f"{self._name}: the network answers NaN for {bad} of {len(scores)} pictures: its "
                "weights are damaged, or come of a training that diverged."
            )
        return scores, np.concatenate(exits) if self.has_exits else None


def class_count(network: Network) -> int:
    """Number of classes of a classifier: two where a single output says yes or no."""
    return 2 if network.classes == 1 else network.classes


def class_names_for(
    given: str | os.PathLike | Sequence[str] | None,
    folders: Sequence[Path],
    classes: int,
    own: Sequence[str] | None = None,
) -> list[str]:
    """The names of a network's classes.

    Args:
      given: see `load_predictor`.
      folders: where `labels.txt` is looked for.
      classes: how many there are.
      own: the names that the network itself has, if any.

    Raises:
      ValueError: there are more names, or fewer.
    """
    if isinstance(given, (str, os.PathLike)):
        return check_class_names(read_labels(given), classes, os.fspath(given))
    if given is not None:
        return check_class_names(given, classes, "class_names")
    for folder in folders:
        labels = folder / LABELS_FILE
        if labels.is_file():
            return check_class_names(read_labels(labels), classes, str(labels))
    if own:
        return check_class_names(own, classes, "the model's own class names")
    imagenet = imagenet_class_names()
    return imagenet if classes == len(imagenet) else [f"class {n}" for n in range(classes)]


def load_tflite_predictor(
    path: str | os.PathLike,
    class_names: Sequence[str] | str | os.PathLike | None = None,
    threads: int | None = None,
    run_first: bool = True,
) -> Predictor:
    """Loads a `.tflite` file for classifying pictures, with LiteRT alone.

    Args:
      path: the file, with the signature of `levit_common.shipped_names`.
      class_names: names in the order of the outputs, or a file with one a line. By default
        `labels.txt` beside the file; else the names that it has; else ImageNet's for 1000 classes;
        else "class 0", "class 1" and so on.
      threads: that LiteRT computes with; its own choice by default.
      run_first: see `open_tflite`.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is damaged, or something else than a classifier of RGB pictures.
      ValueError: the number of class names is not the number of classes.
      ImportError: LiteRT is not installed.
    """
    path = Path(path)
    network = checked(tflite_network(path, threads, run_first))
    check_classifier(network)
    names = class_names_for(class_names, [path.parent], class_count(network), network.class_names)
    return Predictor(network, names, os.fspath(path))


def check_classifier(network: Network) -> None:
    """Raises ModelFileError for a network that is no classifier of RGB pictures."""
    if network.classes is None:
        found = ", ".join(f"{name} {tuple(s)}" for name, s in network.output_shapes.items())
        raise ModelFileError(
            f"{network.source}: expected a classifier, whose one output (batch, classes) ends in a "
            "softmax, a sigmoid or a dense layer; levit_tf.reset_classifier gives a LeViT one. "
            f"Found: {found}"
        )
    if network.input_shape[3] != 3:
        raise ModelFileError(
            f"{network.source}: takes {network.input_shape[3]} channels; pictures from files have "
            "3."
        )
    if None in network.input_shape[1:3]:
        raise ModelFileError(
            f"{network.source}: takes pictures of every size, and nothing says which to resize "
            "yours to. levit_tf.with_input_size(model, (height, width)) makes a network for one."
        )
