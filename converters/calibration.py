"""Pictures from which a quantiser learns the ranges of activations, chosen by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from levit_tf import digits
from levit_tf.images import load_images

# Ranges hardly move beyond a hundred pictures; these are spread evenly over the source.
CALIBRATION_IMAGES = 128
EMBEDDED = ("digits",)
FOLDER_PREFIX = "imagefolder:"
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
CHOICES = f"{', '.join(EMBEDDED)} (embedded) or {FOLDER_PREFIX}/path/to/pictures"


def calibration_images(source: str, size: tuple[int, int]) -> np.ndarray:
    """Loads calibration pictures.

    Args:
      source: "digits" for the training part of the embedded data set, or "imagefolder:PATH" for
        the pictures in a folder and its sub-folders.
      size: (height, width) that the network takes, pixels.

    Returns:
      RGB 0..255 of shape (n, *size, 3), at most `CALIBRATION_IMAGES` of them.

    Raises:
      ValueError: unknown source, a folder without pictures, a picture that cannot be read, or
        embedded pictures of another size than `size`.
    """
    if source == "digits":
        (images, _), _ = digits.load_data()
        if images.shape[1:3] != tuple(size):
            side = digits.IMAGE_SIZE
            raise ValueError(
                f"Calibration on digits is for networks of {side}x{side} pixels; this one takes "
                f"{size[0]}x{size[1]}. Use {FOLDER_PREFIX}/path/to/pictures like those it will see."
            )
        return images[spread(len(images))]
    if source.startswith(FOLDER_PREFIX):
        paths = _pictures_in(source.removeprefix(FOLDER_PREFIX))
        return load_images([paths[n] for n in spread(len(paths))], size)
    raise ValueError(f"Unknown calibration data {source!r}. Expected {CHOICES}.")


def spread(count: int) -> np.ndarray:
    """At most `CALIBRATION_IMAGES` indices below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, CALIBRATION_IMAGES)).astype(int))


def _pictures_in(folder: str) -> list[Path]:
    if not os.path.isdir(folder):
        raise ValueError(f"Calibration: no such folder: {folder!r}.")
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(
            f"Calibration: no pictures in {folder!r}; looked for {', '.join(SUFFIXES)}."
        )
    return paths
