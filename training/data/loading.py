"""Loads data sets by name."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from levit_lite.class_names import composed, imagenet_class_names
from levit_tf.class_names import decode_predictions
from levit_tf.pictures import digits
from training.data.dataset import Dataset
from training.data.decoding import Skipped
from training.data.folders import load_folder
from training.data.sources import PixelSource
from training.data.tfds_sets import load_tfds

DIGITS, FOLDER, TFDS = "digits", "imagefolder", "tfds"
DEFAULT_SIZE = (224, 224)  # for pictures of varying sizes
EXPECTED = (
    f"Expected {DIGITS} (embedded), {FOLDER}:/path, or a set of TensorFlow Datasets by its name, "
    f"such as cifar10 or {TFDS}:imagenet_v2/matched-frequency"
)


class DatasetName(NamedTuple):
    """The parts of a data set's name.

    Attributes:
      kind: `DIGITS`, `FOLDER` or `TFDS`.
      source: path of the folder, or name of the data set.
    """

    kind: str
    source: str


def parse_dataset_name(dataset: str) -> DatasetName:
    """Splits the name of a data set into its parts, without checking whether it exists.

    Raises:
      ValueError: the name has none of the known forms.
    """
    kind, separator, source = dataset.partition(":")
    if dataset == DIGITS:
        return DatasetName(DIGITS, DIGITS)
    if separator and kind in (FOLDER, TFDS) and source:
        return DatasetName(kind, source)
    # A version also follows a colon: cifar10:3.0.2.
    if dataset and kind not in (FOLDER, TFDS, "") and not dataset.startswith(("/", ".", "~")):
        return DatasetName(TFDS, dataset)
    meant = f" Did you mean {FOLDER}:{dataset}?" if dataset and os.path.isdir(dataset) else ""
    raise ValueError(f"Unknown dataset {dataset!r}.{meant} {EXPECTED}.")


def load_data(
    dataset: str,
    *,
    split_train: str | None = None,
    split_test: str | None = None,
    input_size: tuple[int, int] | None = None,
    strict: bool = False,
    with_train: bool = True,
) -> Dataset:
    """Opens a data set.

    Args:
      dataset: "digits" for the embedded ones; "imagefolder:/path", see `training.data.folders`; or
        the name of a TensorFlow Datasets set, with or without "tfds:" before it, which must be
        prepared in its usual place or in the folder of the environment variable TFDS_DATA_DIR.
      split_train: the part to train on. For TensorFlow Datasets in their notation, such as
        "train[:90%]"; for folders, see `training.data.folders.load_folder`.
      split_test: the part to hold out. Both have the usual defaults.
      input_size: (height, width) of the network's input, pixels. By default that of the pictures if
        all have the same size, otherwise 224x224.
      strict: whether an unreadable picture stops the run, rather than being skipped.
      with_train: whether there will be training. If not, the training part is ignored, and every
        picture of a folder without parts is held out.

    Returns:
      The data set. It may have no training part (ImageNet-V2, ImageNet-ReaL).

    Raises:
      ValueError: the data set, folder or split does not exist, is not prepared, or is not for image
        classification; the message says how to get it. With `strict`, also `ImageError`, which
        names the file.
      ImportError: a package needed for this data set is not installed.
    """
    kind, source = parse_dataset_name(dataset)
    skipped = Skipped(strict)
    size = DEFAULT_SIZE
    details = None
    if kind == DIGITS:
        if split_train or split_test:
            raise ValueError(f"dataset {DIGITS}: its two parts are fixed; give no splits.")
        train, test = (PixelSource(*part) for part in digits.load_data())
        ids, size = digits.CLASS_NAMES, (digits.IMAGE_SIZE, digits.IMAGE_SIZE)
    elif kind == FOLDER:
        found = load_folder(source, split_train, split_test, skipped, with_train)
        train, test, ids = found.train, found.test, list(map(composed, found.classes))
        details = found.details
    else:
        train, test, ids, own_size = load_tfds(source, split_train, split_test, with_train)
        size = own_size or size
    return Dataset(
        dataset,
        train=train,
        test=test,
        class_names=_names(ids),
        class_ids=ids,
        input_size=input_size or size,
        skipped=skipped,
        folder=source if kind == FOLDER else "",
        details=details,
    )


@functools.cache
def imagenet_ids() -> dict[str, int]:
    """Maps the WordNet ids of the 1000 ImageNet classes to their labels."""
    in_order = decode_predictions(-np.arange(len(imagenet_class_names()))[None], top=1000)[0]
    return {wordnet_id: label for label, (wordnet_id, _, _) in enumerate(in_order)}


def _names(ids: Sequence[str]) -> list[str]:
    """Replaces WordNet ids by human-readable names, if all of them are ImageNet's."""
    known = imagenet_ids()
    if not all(name in known for name in ids):
        return list(ids)
    return [imagenet_class_names()[known[name]] for name in ids]
