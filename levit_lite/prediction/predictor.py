"""Classifiers: class probabilities of pictures, and class names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from levit_common.arrays import luma
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

# Batch size of networks whose file does not fix it: enough to keep a CPU busy.
BATCH_SIZE = 32


class Predictor:
    """Classifies pictures; created by `load_predictor`.

    Attributes:
      input_size: (height, width) of the input pictures, pixels.
      classes: number of classes.
      class_names: class names in the order of the probabilities.
      has_exits: whether the network is a dynamic one, which returns the step that was used.
    """

    def __init__(self, network: Network, class_names: Sequence[str], name: str = "the network"):
        self._name = name
        self._network = network
        self._batch_size = network.input_shape[0]
        self.input_size = network.input_shape[1:3]
        self._is_grey = network.input_shape[3] == 1
        self.classes = class_count(network)
        self.class_names = list(class_names)
        self.has_exits = EXIT in network.output_shapes

    def predict(self, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Returns the class probabilities of pictures.

        Args:
          images: (n, *input_size, 3), RGB values 0..255 of any integer or floating type, such as
            `levit_tf.pictures.images.load_images` returns; or a list of n such images. A network
            of one channel gets their brightness; it takes (n, *input_size, 1), too.

        Returns:
          float32 of shape (n, classes); each row sums to 1 (approximately if the network is
          quantised).

        Raises:
          ValueError: `images` has another shape; or the network returns NaN.
        """
        return self.predict_with_exits(images)[0]

    def predict_with_exits(
        self, images: np.ndarray | Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns probabilities as `predict` does, and the step of a dynamic file for each row.

        Returns:
          Probabilities (n, classes), and steps (n,) counted from 0; None instead of the steps for a
          file without steps.
        """
        images = np.asarray(images)
        expected = (*self.input_size, 3)
        takes = [expected, (*self.input_size, 1)] if self._is_grey else [expected]
        if images.ndim != 4 or images.shape[1:] not in takes:
            raise ValueError(
                f"predict takes images of shape (n, {', '.join(map(str, expected))}). "
                f"Received: shape {images.shape}"
            )
        rows = [np.zeros((0, self.classes), np.float32)]
        exits = [np.zeros(0, np.int64)]
        step = self._batch_size or BATCH_SIZE
        for start in range(0, len(images), step):
            batch = images[start : start + step].astype(np.float32)
            if self._is_grey and batch.shape[3] == 3:
                batch = luma(batch)
            count = len(batch)
            if self._batch_size is not None:
                batch = np.pad(batch, [(0, step - count), (0, 0), (0, 0), (0, 0)])
            found = self._network.outputs(batch)
            scores = probabilities_in(found)[:count].astype(np.float32)
            exits.append(found.get(EXIT, np.zeros(0))[:count].astype(np.int64))
            # A single sigmoid output is the probability of the second of two classes.
            rows.append(scores if scores.shape[1] > 1 else np.concatenate([1 - scores, scores], 1))
        scores = np.concatenate(rows)
        if bad := np.count_nonzero(~np.isfinite(scores).all(axis=1)):
            raise ValueError(
                f"{self._name}: the network answers NaN for {bad} of {len(scores)} pictures: its "
                "weights are damaged, or from a training that diverged."
            )
        return scores, np.concatenate(exits) if self.has_exits else None


def class_count(network: Network) -> int:
    """Returns the number of classes of a classifier; two for a single sigmoid output."""
    return 2 if network.classes == 1 else network.classes


def class_names_for(
    given: str | os.PathLike | Sequence[str] | None,
    folders: Sequence[Path],
    classes: int,
    own: Sequence[str] | None = None,
) -> list[str]:
    """Returns the class names of a network.

    Args:
      given: see `load_predictor`.
      folders: folders in which `labels.txt` is looked for.
      classes: number of classes.
      own: class names stored in the network; None if there are none. Two classes may have the name
        of the second only.

    Raises:
      ValueError: the number of names is not the number of classes, or `labels.txt` contradicts the
        network.
    """
    if isinstance(given, (str, os.PathLike)):
        return check_class_names(read_labels(given), classes, os.fspath(given))
    if given is not None:
        return check_class_names(given, classes, "class_names")
    if beside := names_beside(folders, classes, own if own and len(own) == classes else None):
        return beside
    if own and (classes, len(own)) == (2, 1):  # a .tflite file has one label for a single value
        own = (f"not {own[0]}", own[0])
    if own:
        return check_class_names(own, classes, "the model's own class names")
    imagenet = imagenet_class_names()
    return imagenet if classes == len(imagenet) else [f"class {n}" for n in range(classes)]


def names_beside(
    folders: Sequence[Path],
    classes: int | None,
    own: Sequence[str] | None,
    setting: str = "class_names (--labels=FILE)",
) -> list[str] | None:
    """Returns the class names of a `labels.txt` beside a network that has none of its own.

    Args:
      folders: folders in which it is looked for.
      classes: number of classes; None if unknown.
      own: class names stored in the network; None if there are none.
      setting: what the caller takes a file of names by, for the error message.

    Returns:
      The names; None if there is no such file, or the network has its own names.

    Raises:
      ValueError: the number of names is not the number of classes, or they contradict `own`.
    """
    for labels in (folder / LABELS_FILE for folder in folders):
        if not labels.is_file():
            continue
        names = read_labels(labels)
        if not own:
            return names if classes is None else check_class_names(names, classes, str(labels))
        # In a folder of several networks it belongs to one of them. As many other names may be a
        # translation or those of another network: only the user knows.
        differing = (n for n in range(len(own)) if names[n] != own[n])
        if len(names) == len(own) and (other := next(differing, None)) is not None:
            raise ValueError(
                f"{labels}: class {other} is {names[other]!r}, and {own[other]!r} in the network's "
                f"own names. Remove the file, or choose by {setting}."
            )
    return None


def load_tflite_predictor(
    path: str | os.PathLike,
    class_names: Sequence[str] | str | os.PathLike | None = None,
    threads: int | None = None,
    run_first: bool = True,
) -> Predictor:
    """Loads a `.tflite` file for classifying pictures; needs only LiteRT.

    Args:
      path: the file, with the signature of `levit_common.shipped_names`.
      class_names: names in the order of the outputs, or a file with one name per line. By default
        the names stored in the file; else `labels.txt` in the same folder; else ImageNet's for 1000
        classes; else "class 0", "class 1" and so on.
      threads: number of threads for LiteRT; by default LiteRT chooses it.
      run_first: see `open_tflite`.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is damaged, or not a classifier of RGB or grey pictures.
      ValueError: the number of class names is not the number of classes.
      ImportError: LiteRT is not installed.
    """
    path = Path(path)
    network = checked(tflite_network(path, threads, run_first))
    check_classifier(network)
    names = class_names_for(class_names, [path.parent], class_count(network), network.class_names)
    return Predictor(network, names, os.fspath(path))


def check_classifier(network: Network) -> None:
    """Raises ModelFileError for a network that is not a classifier of RGB or grey pictures."""
    if network.classes is None:
        found = ", ".join(f"{name} {tuple(s)}" for name, s in network.output_shapes.items())
        raise ModelFileError(
            f"{network.source}: expected a classifier, whose one output (batch, classes) ends in a "
            "softmax, a sigmoid or a dense layer; levit_tf.reset_classifier gives a LeViT one. "
            f"Found: {found}"
        )
    check_takes_pictures(network)


def check_takes_pictures(network: Network) -> None:
    """Raises ModelFileError for a network of other channels than pictures have, or of any size."""
    if network.input_shape[3] not in (1, 3):
        raise ModelFileError(
            f"{network.source}: takes {network.input_shape[3]} channels; pictures from files have "
            "3, or 1 if they are grey."
        )
    if None in network.input_shape[1:3]:
        raise ModelFileError(
            f"{network.source}: takes pictures of every size, and nothing says which to resize "
            "yours to. levit_tf.with_input_size(model, (height, width)) makes a network for one."
        )
