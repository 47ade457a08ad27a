"""The pictures on which the figures of a model card are measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from converters.verification.verify_pictures import comparison_pictures
from levit_common.arrays import spread_indices
from levit_tf.pictures import labelled_pictures as picture_files
from levit_tf.pictures.folder_layout import TEST, VALIDATION
from levit_tf.pictures.run_pictures import Seen, find_seen


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
