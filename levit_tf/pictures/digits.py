"""scikit-learn's handwritten digits as small RGB pictures: real data that needs no download.

1,797 digits written by 43 people, 8x8 pixels of 17 grey levels: the test part of the UCI "Optical
Recognition of Handwritten Digits" set, which scikit-learn carries in its wheel. Here they are
32x32 pixels, the size of the smallest LeViT. Training uses them unless told otherwise, and
calibration takes them by the name "digits".
"""

from __future__ import annotations

import numpy as np

CLASS_NAMES = tuple("0123456789")
IMAGE_SIZE = 32  # height and width in pixels
TEST_IMAGES = 360  # a fifth of all images

_SPLIT_SEED = 0
_SOURCE_SIZE = 8
_SOURCE_MAX = 16.0  # a pixel counts the ink dots in a 4x4 square of the scanned form

Split = tuple[np.ndarray, np.ndarray]


def load_data() -> tuple[Split, Split]:
    """Returns the digits, split into a training and a test part that are always the same.

    The split is stratified: every class has the same share of both parts, to within one image. It
    is not by writer, so accuracy on the test part is for new pictures, not for new writers.

    Returns:
      (train images, train labels), (test images, test labels), as in `keras.datasets`:
      1,437 and 360 images, uint8 RGB 0..255 of shape (n, 32, 32, 3), white ink on black; labels
      int32 of shape (n,), the digit.

    Raises:
      ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            'The digits come with scikit-learn, which is missing: pip install "levit_tf[train]"'
        ) from error
    pictures, labels = load_digits(return_X_y=True)
    images = _enlarge(pictures.reshape(-1, _SOURCE_SIZE, _SOURCE_SIZE))  # (n, 64) -> (n, 8, 8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images,
        labels.astype(np.int32),
        test_size=TEST_IMAGES,
        stratify=labels,
        random_state=_SPLIT_SEED,
    )
    return (train_images, train_labels), (test_images, test_labels)


def _enlarge(pictures: np.ndarray) -> np.ndarray:
    """Enlarges (n, 8, 8), values 0..16, to (n, 32, 32, 3) uint8, bilinear between pixel centres."""
    scale = IMAGE_SIZE // _SOURCE_SIZE
    centre = (np.arange(IMAGE_SIZE) + 0.5) / scale - 0.5
    centre = centre.clip(0, _SOURCE_SIZE - 1)
    weights = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(_SOURCE_SIZE)))  # (32, 8)
    enlarged = np.einsum("yi,nij,xj->nyx", weights, pictures, weights) * (255 / _SOURCE_MAX)
    grey = np.round(enlarged).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)  # (n, 32, 32) -> (n, 32, 32, 3)
