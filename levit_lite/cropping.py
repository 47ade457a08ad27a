"""The evaluation protocol's resizing and cropping, by Pillow itself.

`levit_tf.preprocessing` computes the same with Keras, for graphs and where there is no Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

RESIZE_RATIO = (256, 224)  # side resized to : side cropped from it
# Pictures for networks this small are not photographs: none of their border is cropped away
# (datasets.py of facebookresearch/LeViT: `resize_im = input_size > 32`).
LARGEST_SIDE_WITHOUT_MARGIN = 32
# Sides of a resized picture over those of its crop, up to which all of it is computed.
_WHOLE_UP_TO = 16
# Resized pixels around a crop on which the pixels in it depend: two of the bicubic kernel.
_AROUND = 4


def cover(height: int, width: int) -> tuple[int, int]:
    """(height, width) that a resized image has to cover for a crop of `height` x `width`."""
    if max(height, width) <= LARGEST_SIDE_WITHOUT_MARGIN:
        return height, width
    numerator, denominator = RESIZE_RATIO
    return height * numerator // denominator, width * numerator // denominator


def resize_and_center_crop(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Resizes a picture to cover 256/224 of `size`, keeping its aspect, and crops the centre.

    As torchvision does: Resize(int(size * 256 / 224), bicubic) of the shorter side, and
    CenterCrop(size). Of a picture whose resized side is beyond 16 times its crop only what is near
    the crop is computed, from where Pillow's single precision says that it begins: a few values
    then differ by some grey levels.

    Args:
      image: of mode RGB.
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
    """Where the middle begins: round((resized - cropped) / 2), halves to the even."""
    return round((resized - cropped) / 2)


def _computed(start: int, resized: int, cropped: int) -> tuple[int, int]:
    """What is computed of an axis, (first, behind the last): all of it, or the crop's environs."""
    if resized <= _WHOLE_UP_TO * cropped:
        return 0, resized
    return max(0, start - _AROUND), min(resized, start + cropped + _AROUND)
