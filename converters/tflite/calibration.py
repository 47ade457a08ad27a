"""Pictures from which a quantiser learns the ranges of activations, chosen by name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converters.choices import CALIBRATION, FOLDER_PREFIX
from converters.verification.sample_pictures import sample_photographs
from levit_common.arrays import spread_indices
from levit_tf.pictures import digits
from levit_tf.pictures.folder_layout import learning_part
from levit_tf.pictures.picture_folders import load_spread
from levit_tf.preprocessing import resize_and_center_crop

# Ranges hardly move beyond a hundred pictures; these are spread evenly over the source.
CALIBRATION_IMAGES = 128
# Squares are cut out of photographs: (side relative to the height, rows, columns).
_CROPS = ((1.0, 1, 2), (0.7, 2, 3), (0.5, 3, 4))


def calibration_images(source: str, size: tuple[int, int]) -> np.ndarray:
    """Loads calibration pictures.

    Args:
      source: "digits" for the training part of the embedded data set, "photographs" for parts of
        the two that come with scikit-learn, or "imagefolder:PATH" for the pictures in a folder and
        its sub-folders, of which a training part is taken where there is one: what calibrates must
        not be what the result is measured on. What is found and skipped there is printed.
      size: (height, width) that the network takes, pixels.

    Returns:
      RGB 0..255 of shape (n, *size, 3), at most `CALIBRATION_IMAGES` of them.

    Raises:
      ImportError: embedded pictures, and scikit-learn is not installed.
      ValueError: unknown source, a folder without a picture that can be read, or
        digits for another size than theirs.
    """
    if source == "digits":
        (images, _), _ = digits.load_data()
        if images.shape[1:3] != tuple(size):
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
    """Squares of three sizes, evenly spread over scikit-learn's two sample photographs."""
    for photograph in sample_photographs():
        height, width, _ = photograph.shape
        for share, rows, columns in _CROPS:
            side = int(share * height)
            for top in np.linspace(0, height - side, rows).astype(int):
                for left in np.linspace(0, width - side, columns).astype(int):
                    yield photograph[top : top + side, left : left + side]
