"""Resizing and cropping of the evaluation protocol, done by Pillow itself.

`levit_tf.preprocessing` computes the same with Keras, for graphs and for use without Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

RESIZE_RATIO = (256, 224)  # resized side : cropped side
# Pictures for networks this small are not photographs: their border is not cropped
# (datasets.py of facebookresearch/LeViT: `resize_im = input_size > 32`).
LARGEST_SIDE_WITHOUT_MARGIN = 32
# Largest ratio of resized side to crop side up to which the whole side is computed.
_WHOLE_UP_TO = 16
# Margin around the crop that is computed as well; the bicubic kernel needs two pixels of it.
_AROUND = 4


def cover(height: int, width: int) -> tuple[int, int]:
    """Returns (height, width) that a resized image must cover for a crop of `height` x `width`."""
    if max(height, width) <= LARGEST_SIDE_WITHOUT_MARGIN:
        return height, width
    numerator, denominator = RESIZE_RATIO
    return height * numerator // denominator, width * numerator // denominator


def resize_and_center_crop(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Resizes a picture to cover 256/224 of `size`, keeping its aspect ratio, and crops the centre.

    This equals torchvision's Resize(int(size * 256 / 224), bicubic) of the shorter side, and
    CenterCrop(size). If the resized side is more than 16 times the crop, only the area near the
    crop is computed; a few values then differ by some grey levels, because Pillow stores the
    position of this area in single precision.

    Args:
      image: picture of mode RGB.
      size: (height, width) of the result, pixels.

    Returns:
      uint8 of shape (*size, 3).
    """
    width, height = image.size
    cover_height, cover_width = cover(*size)
    if cover_height * width >= cover_width * height:
        resized = (cover_height, cover_height * width // height)
    else:
        resized = (cover_width * height // width, cover_width)
    rows, columns = (_middle(*sides) for sides in zip(resized, size, strict=True))
    top, bottom = _computed(rows, resized[0], size[0])
    left, right = _computed(columns, resized[1], size[1])
    box = (
        left * width / resized[1],
        top * height / resized[0],
        right * width / resized[1],
        bottom * height / resized[0],
    )
    bicubic = 3  # Image.Resampling.BICUBIC
    pixels = np.asarray(image.resize((right - left, bottom - top), bicubic, box))
    top, left = rows - top, columns - left
    return np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]])


def _middle(resized: int, cropped: int) -> int:
    """Returns the start of the centre crop: round((resized - cropped) / 2), half to even."""
    return round((resized - cropped) / 2)


def _computed(start: int, resized: int, cropped: int) -> tuple[int, int]:
    """Returns the computed range (start, stop) of an axis: all of it, or the area near the crop."""
    if resized <= _WHOLE_UP_TO * cropped:
        return 0, resized
    return max(0, start - _AROUND), min(resized, start + cropped + _AROUND)
