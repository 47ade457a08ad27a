"""Predictors: class probabilities of pictures from any model file, with one interface."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from levit_common.model_sources import NAMES, is_name
from levit_lite.class_names import check_class_names, read_labels
from levit_lite.prediction.network import Network
from levit_lite.prediction.predictor import (
    Predictor,
    check_classifier,
    class_count,
    class_names_for,
    names_beside,
)
from levit_tf.applications import load_by_name
from levit_tf.prediction.network_files import EXPECTED_FILES, keras_network, read_network
from levit_tf.weights.keras_files import ModelFileError, model_path
from levit_tf.weights.packaged import variants_with_weights

_EXPECTED = f"{EXPECTED_FILES}; or {NAMES}"


def load_predictor(
    path: str | os.PathLike,
    class_names: Sequence[str] | str | os.PathLike | None = None,
    input_range: str | None = None,
    trust: bool = False,
    threads: int | None = None,
) -> Predictor:
    """Loads a network for classifying pictures.

    Args:
      path: a `.keras` file (train or deploy form), a `.tflite` file or a SavedModel directory with
        the signature of `levit_common.shipped_names`; the folder of a run of `training.main`, for
        its final network; a repository on the Hugging Face hub, `hf://OWNER/NAME`; or the name of a
        variant: "LeViT256" for its released ImageNet weights, "LeViTMini" for those that come with
        the package. A file of this name has priority.
      class_names: names in the order of the outputs, or a file with one name per line. By default
        the names stored in the file; else `labels.txt` in the SavedModel or in the folder of the
        file; else ImageNet's for 1000 classes; else "class 0", "class 1" and so on.
      input_range: input range of a `.keras` model whose graph does not note it: a name in
        `levit_tf.preprocessing.INPUT_RANGES`.
      trust: whether a SavedModel may have operations that read or write files or run Python.
      threads: see `levit_tf.prediction.network_files.read_network`.

    Returns:
      A `Predictor`.

    Raises:
      ModelFileError: there is neither such a file nor such a variant; or the file is damaged or of
        another kind than expected.
      ValueError: the number of class names is not the number of classes; or the input range of a
        `.keras` model is not known, or `input_range` contradicts it.
      ImportError: the package that reads this kind of file is not installed.
    """
    if is_name(path):
        path, folders = os.fspath(path), ()
        network = keras_network(load_by_name(path, expected=_EXPECTED), path, input_range)
    else:
        path = Path(model_path(path))
        if not path.exists():
            known = ", ".join(variants_with_weights())
            raise ModelFileError(f"{path}: no such file. Expected {_EXPECTED}: {known}.")
        network, folders = read_network(path, input_range, trust, threads), (path, path.parent)
    check_classifier(network)
    names = class_names_for(class_names, folders, class_count(network), network.class_names)
    return Predictor(network, names, os.fspath(path))


def exported_class_names(given: Sequence[str] | None, network: Network) -> list[str] | None:
    """Returns the class names to store in an export of a network.

    Args:
      given: class names; None for those of the network.
      network: the network that is exported.

    Returns:
      The names; None if there are none.

    Raises:
      ValueError: the number of names is not the number of classes.
    """
    names, classes = given or network.class_names, class_count(network)
    if names and classes is not None:
        return check_class_names(names, classes, "class names")
    return names and list(names)


def label_folders(model: Path) -> list[Path]:
    """Returns where the `labels.txt` of a model may be; nowhere if it is no file but a name."""
    if not model.exists():
        return []
    return [model if model.is_dir() else model.parent]


def labels_for(
    given: str | os.PathLike | None,
    model: Path,
    own: Sequence[str] | None,
    classes: int | None = None,
) -> list[str] | None:
    """Reads class names from `--labels`, or for a model without names from `labels.txt`.

    Args:
      given: the file given by `--labels`; None without the flag.
      model: the model's file; `labels.txt` is looked for in the same folder. Or its name.
      own: the model's own class names; None if it has none.
      classes: number of values of the model's output, one for two classes; None if unknown.

    Returns:
      The class names; None if there is no such file, or the model's own names are to be used.

    Raises:
      ValueError: see `levit_lite.prediction.predictor.names_beside`.
    """
    classes = 2 if classes == 1 else classes
    if given is None:
        return names_beside(label_folders(model), classes, own)
    names = read_labels(given)
    return names if classes is None else check_class_names(names, classes, os.fspath(given))
