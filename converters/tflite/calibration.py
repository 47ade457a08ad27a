"""Loads calibration pictures by name; a quantiser learns the ranges of activations from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from converters.choices import CALIBRATION, FOLDER_PREFIX
from converters.verification.sample_pictures import sample_photographs
from levit_common.arrays import luma, spread_indices
from levit_tf.pictures import digits
from levit_tf.pictures.folder_layout import learning_part
from levit_tf.pictures.picture_folders import load_spread
from levit_tf.preprocessing import resize_and_center_crop

# Number of pictures, evenly chosen from the source. More than a hundred hardly change the ranges.
CALIBRATION_IMAGES = 128
# Squares that are cut out of photographs: (side relative to the height, rows, columns).
_CROPS = ((1.0, 1, 2), (0.7, 2, 3), (0.5, 3, 4))


def calibration_images(source: str, size: Sequence[int]) -> np.ndarray:
    """Loads calibration pictures.

    Args:
      source: "digits" for the training part of the embedded data set, "photographs" for parts of
        the two photographs that come with scikit-learn, or "imagefolder:PATH" for the pictures in a
        folder and its sub-folders. If the folder has a training part, only this part is used, so
        that the result can be measured on other pictures. The numbers of found and skipped files
        are printed.
      size: (height, width) of the network's input, pixels, optionally followed by its number of
        channels.

    Returns:
      RGB 0..255 of shape (n, height, width, 3), with n at most `CALIBRATION_IMAGES`; for one
      channel the brightness, (n, height, width, 1).

    Raises:
      ImportError: embedded pictures need scikit-learn, which is not installed.
      ValueError: unknown source, a folder without readable pictures, or digits for another size
        than their own.
    """
    if tuple(size[2:]) == (1,):
        return luma(calibration_images(source, size[:2]))
    size = tuple(size[:2])
    if source == "digits":
        (images, _), _ = digits.load_data()
        if images.shape[1:3] != size:
            side = digits.IMAGE_SIZE
            raise ValueError(
                f"Calibration on digits is for networks of {side}x{side} pixels; this one takes "
                f"{size[0]}x{size[1]}. Use photographs, or better {FOLDER_PREFIX}/path/to/pictures "
                "like those it will see."
            )
        return images[spread_indices(len(images), CALIBRATION_IMAGES)]
    if source == "photographs":
        return np.stack([resize_and_center_crop(part, size) for part in _photograph_parts()])
    if source.startswith(FOLDER_PREFIX):
        folder = learning_part(source.removeprefix(FOLDER_PREFIX))
        return np.stack(load_spread(folder, CALIBRATION_IMAGES, size, "Calibration"))
    raise ValueError(f"Unknown calibration data {source!r}. Expected {CALIBRATION}.")


def _photograph_parts() -> Iterator[np.ndarray]:
    """Yields squares of three sizes, evenly cut from scikit-learn's two sample photographs."""
    for photograph in sample_photographs():
        height, width, _ = photograph.shape
        for share, rows, columns in _CROPS:
            side = int(share * height)
            for top in np.linspace(0, height - side, rows).astype(int):
                for left in np.linspace(0, width - side, columns).astype(int):
                    yield photograph[top : top + side, left : left + side]
