"""Loads pictures as batches for a network, by the evaluation protocol."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from levit_lite.images import load_image
from levit_tf.preprocessing import resize_and_center_crop


def load_images(sources: Sequence[str | os.PathLike | bytes], size: tuple[int, int]) -> np.ndarray:
    """Decodes pictures of any sizes into one batch, by the evaluation protocol.

    Args:
      sources: paths, or contents of picture files.
      size: (height, width) to resize and crop each picture to, pixels.

    Returns:
      float32 array of shape (len(sources), *size, 3), RGB values 0..255.

    Raises:
      ImageError: see `levit_lite.images.load_image`.
    """
    images = [resize_and_center_crop(load_image(source), size) for source in sources]
    return np.stack(images) if images else np.zeros((0, *size, 3), np.float32)
