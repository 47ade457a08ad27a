"""Loads pictures for comparing artefacts: the user's, or real ones that need no download."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from converters.choices import COMPARED_PICTURES
from converters.verification.sample_pictures import sample_photographs
from levit_common.arrays import luma
from levit_tf.pictures import digits
from levit_tf.pictures.picture_folders import load_spread
from levit_tf.preprocessing import resize_and_center_crop

EMBEDDED_DIGITS = 64
# (height, width) of pictures for networks for every size.
OPEN_SIZES = ((96, 160), (192, 128))
# Columns and rows of squares that each of scikit-learn's two photographs is cut into.
_CROPS = (4, 2)


def comparison_pictures(
    folder: str | os.PathLike | None,
    size: Sequence[int | None],
    limit: int = COMPARED_PICTURES,
    open_size: tuple[int, int] = OPEN_SIZES[0],
) -> np.ndarray:
    """Loads pictures to compare artefacts on.

    Args:
      folder: folder of pictures, including its sub-folders; the numbers of found and skipped files
        are printed. None for embedded pictures: test digits (`levit_tf.digits`) if the size is
        theirs, else parts of scikit-learn's two sample photographs.
      size: (height, width) of the artefacts' input in pixels, optionally followed by the number of
        channels (default 3). One channel is the brightness; further channels repeat the colours,
        mirrored each time.
      limit: largest number of pictures, evenly chosen from the folder.
      open_size: (height, width) to use for sides that are None.

    Returns:
      Plain pixels 0..255, float32 of shape (n, height, width, channels).

    Raises:
      ValueError: no such folder, or no picture in it that can be read.
      ImportError: no `folder`, and scikit-learn is not installed.
    """
    if len(size) == 3 and size[2] != 3:
        return _with_channels(comparison_pictures(folder, size[:2], limit, open_size), size[2])
    size = tuple(side or other for side, other in zip(size[:2], open_size, strict=True))
    if folder is not None:
        return np.stack(load_spread(folder, limit, size, "--images"))
    if size == (digits.IMAGE_SIZE, digits.IMAGE_SIZE):
        _, (images, _) = digits.load_data()
        return images[:EMBEDDED_DIGITS].astype(np.float32)
    return np.stack([resize_and_center_crop(part, size) for part in _photograph_parts()])


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Converts (n, height, width, 3) to (n, height, width, channels)."""
    if channels == 1:
        return luma(images)
    mirrored = [images, images[:, :, ::-1]]
    repeated = [mirrored[n % 2] for n in range(-(-channels // 3))]
    return np.concatenate(repeated, axis=3)[..., :channels]


def _photograph_parts() -> list[np.ndarray]:
    """Returns uint8 pictures (height, width, 3), which do not overlap."""
    columns, rows = _CROPS
    return [
        part
        for photograph in sample_photographs()
        for strip in np.array_split(photograph, rows, axis=0)
        for part in np.array_split(strip, columns, axis=1)
    ]
