"""Loads the photographs that come with scikit-learn, for use without a folder of pictures."""

from __future__ import annotations

import numpy as np


def sample_photographs() -> list[np.ndarray]:
    """Returns scikit-learn's two sample photographs, uint8 of shape (height, width, 3).

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
