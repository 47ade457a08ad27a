"""Where converters take pictures from: a folder, or the photographs that scikit-learn brings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")


def pictures_in(folder: str | os.PathLike, what: str) -> list[Path]:
    """The pictures in a folder and its sub-folders, sorted.

    Args:
      folder: the folder.
      what: asks for them; how the error begins.

    Raises:
      ValueError: there is no such folder, or no picture in it.
    """
    if not os.path.isdir(folder):
        raise ValueError(f"{what}: no such folder: {os.fspath(folder)!r}.")
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(
            f"{what}: no pictures in {os.fspath(folder)!r}; looked for {', '.join(SUFFIXES)}."
        )
    return paths


def sample_photographs() -> list[np.ndarray]:
    """scikit-learn's two sample photographs, uint8 of shape (height, width, 3).

    Raises:
      ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise ImportError(
            "The embedded photographs come with scikit-learn, which is missing: pip install "
            "scikit-learn. Or name a folder with pictures of your own."
        ) from error
    return load_sample_images().images
