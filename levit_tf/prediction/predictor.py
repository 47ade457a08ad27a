"""Predictors: probabilities for pictures from any file that is shipped, by one interface."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from levit_tf.class_names import LABELS_FILE, check_class_names, imagenet_class_names, read_labels
from levit_tf.model import LeViT
from levit_tf.prediction.network_files import EXPECTED_FILES, Network, keras_network, read_network
from levit_tf.variants import get_variant, list_variants
from levit_tf.weights.keras_files import ModelFileError, model_path
from levit_tf.weights.packaged import default_weights

# Images that go through a network at once where its file does not say: enough to keep a CPU busy.
BATCH_SIZE = 32


class Predictor:
    """Classifies pictures; made by `load_predictor`.

    Attributes:
      input_size: (height, width) of the pictures it takes, pixels.
      classes: number of classes.
      class_names: their names, in the order of the probabilities.
    """

    def __init__(self, network: Network, class_names: Sequence[str], name: str = "the network"):
        self._name = name
        self._network = network
        self._batch_size = network.input_shape[0]
        self.input_size = network.input_shape[1:3]
        self.classes = class_count(network)
        self.class_names = list(class_names)

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
        images = np.asarray(images)
        expected = (*self.input_size, 3)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(
                f"predict takes images of shape (n, {', '.join(map(str, expected))}). "
                f"Received: shape {images.shape}"
            )
        rows = [np.zeros((0, self.classes), np.float32)]
        step = self._batch_size or BATCH_SIZE
        for start in range(0, len(images), step):
            batch = images[start : start + step].astype(np.float32)
            count = len(batch)
            if self._batch_size is not None:
                batch = np.pad(batch, [(0, step - count), (0, 0), (0, 0), (0, 0)])
            scores = self._network.run(batch)[:count].astype(np.float32)
            # One output of a sigmoid is the probability of the second of two classes.
            rows.append(scores if scores.shape[1] > 1 else np.concatenate([1 - scores, scores], 1))
        scores = np.concatenate(rows)
        if bad := np.count_nonzero(~np.isfinite(scores).all(axis=1)):
            raise ValueError(
                f"{self._name}: the network answers NaN for {bad} of {len(scores)} pictures: its "
                "weights are damaged, or come of a training that diverged."
            )
        return scores


def load_predictor(
    path: str | os.PathLike,
    class_names: Sequence[str] | str | os.PathLike | None = None,
    input_range: str | None = None,
    trust: bool = False,
) -> Predictor:
    """Loads a network for classifying pictures.

    Args:
      path: a `.keras` file (train or deploy form), a `.tflite` file or a SavedModel directory with
        the signature of `levit_common.shipped_names`; the folder of a run of `training.main`, for
        its final network; or the name of a variant: "LeViT256" for its released ImageNet weights,
        "LeViTMini" for those of the package. A file of that name comes first.
      class_names: names in the order of the outputs, or a file with one a line. By default
        `labels.txt` in the SavedModel or beside the file; else the names that the file itself has;
        else ImageNet's for 1000 classes; else "class 0", "class 1" and so on.
      input_range: what a `.keras` model takes, where its graph does not say it: a name of
        `levit_tf.preprocessing.INPUT_RANGES`.
      trust: whether a SavedModel may have operations that read or write files or run Python.

    Returns:
      A `Predictor`.

    Raises:
      ModelFileError: no such file and no such variant; or the file is damaged, or is something else
        than expected.
      ValueError: the number of class names is not the number of classes; or nothing says what a
        `.keras` model takes, or `input_range` contradicts it.
      ImportError: the package that reads this kind of file is not installed.
    """
    path = Path(model_path(path))
    if path.exists():
        network, folders = read_network(path, input_range, trust), (path, path.parent)
    else:
        network, folders = _released(str(path)), ()
    if network.classes is None:
        found = ", ".join(f"{name} {tuple(s)}" for name, s in network.output_shapes.items())
        raise ModelFileError(
            f"{path}: expected a classifier, whose one output (batch, classes) ends in a softmax, "
            "a sigmoid or a dense layer; levit_tf.reset_classifier gives a LeViT one. Found: "
            f"{found}"
        )
    if network.input_shape[3] != 3:
        raise ModelFileError(
            f"{path}: takes {network.input_shape[3]} channels; pictures from files have 3."
        )
    names = class_names_for(class_names, folders, class_count(network), network.class_names)
    return Predictor(network, names, os.fspath(path))


def class_count(network: Network) -> int:
    """Number of classes of a classifier: two where a single output says yes or no."""
    return 2 if network.classes == 1 else network.classes


def exported_class_names(given: Sequence[str] | None, network: Network) -> list[str] | None:
    """The class names that an export of a network keeps.

    Args:
      given: names of the classes; None for those that the network has.
      network: what is exported.

    Returns:
      The names; None where there are none.

    Raises:
      ValueError: there are more names than classes, or fewer.
    """
    names, classes = given or network.class_names, class_count(network)
    if names and classes is not None:
        return check_class_names(names, classes, "class names")
    return names and list(names)


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


def labels_for(given: str | os.PathLike | None, model: Path) -> list[str] | None:
    """Class names that override a model's own: of a file that was named, or of one beside it.

    Args:
      given: the file, of `--labels`.
      model: the model's file, beside which `labels.txt` is looked for.

    Returns:
      None where there is neither.
    """
    beside = (model if model.is_dir() else model.parent) / LABELS_FILE
    if given is None and not beside.is_file():
        return None
    return read_labels(given or beside)


def _released(name: str) -> Network:
    # Only a plain name: get_variant() overlooks folders and endings, but a mistyped
    # runs/levit256.keras must not become a download.
    is_plain = Path(name).name == name and not Path(name).suffix
    try:
        variant = get_variant(name) if is_plain else None
    except ValueError:
        variant = None
    if variant is None:
        raise ModelFileError(
            f"{name}: no such file, and no variant. Expected {EXPECTED_FILES}, or for released "
            f"weights one of {', '.join(list_variants())}."
        )
    return keras_network(LeViT(variant, weights=default_weights(variant)), name)
