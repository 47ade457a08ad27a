"""Measures accuracy, agreement and time of a network's files, for its model card."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from converters.verification.verify_pictures import comparison_pictures
from levit_common.arrays import spread_indices, standard_error
from levit_lite.prediction.predictor import Predictor
from levit_tf.pictures import labelled_pictures as picture_files
from levit_tf.pictures.folder_layout import TEST, VALIDATION
from levit_tf.pictures.run_pictures import Seen, find_seen

_TIMED = 20  # number of timed runs of one picture, after two warm-up runs
_BATCH = 32


class LabelledPictures(NamedTuple):
    """Pictures with or without labels.

    Attributes:
      images: (n, height, width, 3), RGB 0..255.
      labels: (n,) class indices; None if they are not known.
      text: description of the pictures for the model card.
    """

    images: np.ndarray
    labels: np.ndarray | None
    text: str


class FileFigures(NamedTuple):
    """Measured figures of one file.

    Attributes:
      name: name of the file.
      bytes: size of the file.
      agreement: share of pictures for which it predicts the same class as the Keras model.
      top1: top-1 accuracy; None if the labels are not known.
      milliseconds: median time of one picture.
    """

    name: str
    bytes: int
    agreement: float
    top1: float | None
    milliseconds: float


def labelled_pictures(
    folder: str | os.PathLike | None,
    class_names: Sequence[str],
    size: tuple[int, int],
    limit: int,
    seen: Seen | None = None,
) -> LabelledPictures:
    """Loads the pictures on which figures are measured.

    Args:
      folder: folder with one sub-folder per class, named as in `class_names` or, for ImageNet's
        classes, by WordNet id; of a folder with parts, the test part is used, else the validation
        part. None for pictures that come with scikit-learn.
      class_names: class names in the order of the outputs.
      size: (height, width) of the network's input.
      limit: largest number of pictures, evenly chosen from each class.
      seen: pictures that the network was trained with, which are left out; see
        `levit_tf.pictures.run_pictures.seen_in_training`.

    Raises:
      ValueError: no such folder, a sub-folder that is not one class of the network, no pictures, or
        none that are new to the network.
    """
    if folder is None:
        images = comparison_pictures(None, size)
        return LabelledPictures(images, None, f"{len(images)} pictures that come with scikit-learn")
    found = picture_files.labelled_pictures(folder, class_names, size, kinds=(TEST, VALIDATION))
    is_new = [find_seen(path, seen or {}) is None for path in found.paths]
    new = np.flatnonzero(is_new)
    if len(new) < len(found):
        left_out = len(found) - len(new)
        print(f"--pictures: {left_out:,} are left out: the network was trained with them")
    classes = np.unique(found.labels)
    each = max(1, limit // len(classes))
    of_classes = [new[found.labels[new] == label] for label in classes]
    chosen = np.concatenate([some[spread_indices(len(some), each)] for some in of_classes])
    batches = list(found.only(chosen).batches())
    if not batches:
        raise ValueError(
            f"{folder}: no pictures that can be read and that the network was not trained with."
        )
    images, labels = map(np.concatenate, zip(*batches, strict=True))
    text = f"{len(images):,} pictures of {Path(found.folder).name}"
    return LabelledPictures(images, labels, text)


def measure(
    predictor: Predictor, path: Path, pictures: LabelledPictures, expected: np.ndarray | None
) -> tuple[FileFigures, np.ndarray]:
    """Runs one file on the pictures.

    Args:
      predictor: predictor of the file.
      path: the file.
      pictures: the pictures to classify.
      expected: (n,) classes predicted by the Keras model; None for the Keras model itself.

    Returns:
      The figures, and the classes (n,) predicted by this file.
    """
    found = np.concatenate(
        [
            predictor.predict(pictures.images[start : start + _BATCH]).argmax(axis=1)
            for start in range(0, len(pictures.images), _BATCH)
        ]
    )
    times = []
    for _ in range(_TIMED + 2):
        start = time.perf_counter()
        predictor.predict(pictures.images[:1])
        times.append(time.perf_counter() - start)
    figures = FileFigures(
        path.name,
        path.stat().st_size,
        1.0 if expected is None else float(np.mean(found == expected)),
        None if pictures.labels is None else float(np.mean(found == pictures.labels)),
        1000 * float(np.median(times[2:])),
    )
    return figures, found


def top1_text(figures: FileFigures, count: int) -> str:
    """Formats top-1 with its standard error in percent; a dash if it is not known."""
    if figures.top1 is None:
        return "-"
    return f"{100 * figures.top1:.2f} ± {100 * standard_error(figures.top1, count):.2f}"
