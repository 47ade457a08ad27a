"""Pillow's resizing on every Keras backend, of the part of the result that is wanted.

It runs eagerly and, on the TensorFlow backend, also inside `tf.data` and in a serving graph, where
height and width of the picture are not known in advance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

# Number of outputs that are computed together from their shared inputs. A larger block means more
# products with zero, a smaller one more copies of inputs.
BLOCK = 8


def _bicubic_kernel(x: Any) -> Any:
    """Keys' cubic kernel with a = -0.5 (Pillow's BICUBIC); `x`: distance in input pixels."""
    x = ops.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((2.5 - 0.5 * x) * x - 4) * x + 2
    return ops.where(x < 1, near, ops.where(x < 2, far, 0.0))


def _bilinear_kernel(x: Any) -> Any:
    """Triangle kernel (Pillow's BILINEAR); `x`: distance in input pixels."""
    return ops.maximum(1 - ops.abs(x), 0.0)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """An interpolation kernel of Pillow's resizing.

    Attributes:
      reach: number of input pixels on either side that the kernel covers when enlarging.
      weight: function from distances in input pixels to weights.
    """

    reach: int
    weight: Callable[[Any], Any]


BICUBIC, BILINEAR = Kernel(2, _bicubic_kernel), Kernel(1, _bilinear_kernel)


def resize_part(
    image: Any,
    resized: tuple[Any, Any],
    starts: Sequence[Any],
    size: tuple[int, int],
    kernel: Kernel = BICUBIC,
) -> Any:
    """Resizes an image as Pillow does, but computes only a part of the result.

    Args:
      image: see `levit_tf.preprocessing.resize_and_center_crop`.
      resized: (height, width) of the whole resized image; integers, or scalar tensors.
      starts: first row and column of the part; negative if the part begins before the image.
      size: (height, width) of the part, pixels.
      kernel: interpolation kernel.

    Returns:
      As in `levit_tf.preprocessing.resize_and_center_crop`; 0 outside the image.
    """
    whole = ops.shape(image)[:2]
    return _resized(image, whole, (0, 0), resized, starts, size, kernel)


def resize_region(image: Any, edges: Sequence[Any], size: tuple[int, int]) -> Any:
    """Cuts a region out of an image, and resizes it bilinearly as Pillow does.

    What of it lies outside of the image is black, and takes no memory.

    Args:
      image: see `resize_part`.
      edges: (top, left, bottom, right) of the region, whole numbers of pixels; a part of it lies in
        the image.
      size: (height, width) of the result, pixels.

    Returns:
      As `resize_part`.
    """
    top, left, bottom, right = edges
    height, width = ops.shape(image)[:2]
    first = [ops.maximum(start, 0) for start in (top, left)]
    last = [ops.minimum(end, side) for end, side in ((bottom, height), (right, width))]
    part = image[first[0] : last[0], first[1] : last[1]]
    before = (first[0] - top, first[1] - left)
    region = (bottom - top, right - left)
    return _resized(part, region, before, size, (0, 0), size, BILINEAR)


def _resized(image, whole, before, resized, starts, size, kernel) -> Any:
    """`resize_part` of an image of size `whole` that is black but for a part.

    Args:
      image: the part.
      whole: (height, width) of the image.
      before: rows and columns of it before the part.
      resized: see `resize_part`.
      starts: likewise.
      size: likewise.
      kernel: likewise.
    """
    height, width = ops.shape(image)[:2]
    channels = image.shape[2]
    # Width first, then height, rounded to whole grey levels in between: as Pillow does. In a single
    # step, edges overshoot more and differ from Pillow's by up to 30 grey levels. The axis that is
    # resized always comes first, so that only plain matrices are transposed, which is fast.
    x = ops.transpose(ops.reshape(image, (height, width * channels)))
    x = ops.reshape(x, (width, channels * height))
    # (width, channels * height) -> (size[1], channels * height)
    x = _resize_rows(x, whole[1], before[1], resized[1], starts[1], size[1], kernel)
    x = ops.transpose(ops.reshape(x, (size[1] * channels, height)))
    # (height, size[1] * channels) -> (size[0], size[1] * channels)
    x = _resize_rows(x, whole[0], before[0], resized[0], starts[0], size[0], kernel)
    x = ops.reshape(x, (*size, channels))
    return ops.convert_to_numpy(x) if isinstance(image, np.ndarray) else x


def _resize_rows(
    x: Any, side: Any, before: Any, resized: Any, start: Any, cropped: int, kernel: Kernel
) -> Any:
    """Resizes the first axis from `side` to `resized`; returns `cropped` rows from `start` on.

    Only the inputs that an output depends on are read: each block of outputs has a weight matrix
    and the indices of the input rows that it applies to.

    Args:
      x: (rows, columns): the rows of the axis that are not zero.
      side: length of the axis; all lengths may be scalar tensors.
      before: number of zero rows before `x`; the integer 0 if `x` is the whole axis.
      resized: the length to resize it to.
      start: index of the first row to compute; rows outside the resized axis are 0.
      cropped: number of rows to compute.
      kernel: interpolation kernel.

    Returns:
      (cropped, columns) float32, whole numbers 0..255.
    """
    middles = output_blocks(cropped)
    outputs = ops.convert_to_tensor(middles) + ops.cast(start, "float32")
    lengths = (_one_by_one(length) for length in (side, resized))
    inside, weights = resize_filters(outputs, *lengths, kernel)
    if not isinstance(before, int) or before:
        own = inside - before
        inside = ops.clip(own, 0, ops.shape(x)[0] - 1)
        weights = weights * ops.cast(own == inside, "float32")[:, None, :]
    values = ops.matmul(weights, ops.cast(ops.take(x, inside, axis=0), "float32"))
    # (blocks, BLOCK, columns) -> (blocks * BLOCK, columns)
    values = ops.reshape(values, (middles.size, -1))[:cropped]
    return ops.floor(ops.clip(values, 0.0, 255.0) + 0.5)  # halves upwards, as Pillow rounds


def _one_by_one(length: Any) -> Any:
    return ops.reshape(ops.convert_to_tensor(length, "int32"), (1, 1))


def output_blocks(count: int) -> np.ndarray:
    """Returns the centres of `count` pixels, 0.5, 1.5, ..., in float32 blocks (blocks, BLOCK).

    The last block is filled up by repeating the last pixel.
    """
    blocks = -(-count // BLOCK)
    numbers = np.minimum(np.arange(blocks * BLOCK), count - 1)
    return numbers.reshape(blocks, BLOCK).astype(np.float32) + 0.5


def resize_filters(
    outputs: Any, side: Any, resized: Any, kernel: Kernel = BICUBIC
) -> tuple[Any, Any]:
    """Returns input indices and weights of each block of outputs, for resizing as Pillow does.

    Args:
      outputs: (blocks, BLOCK) float32, centres of the pixels to compute, in the resized axis.
      side: int32 (blocks or 1, 1), length of the input axis of each block.
      resized: int32 (blocks or 1, 1), length of the resized axis.
      kernel: interpolation kernel.

    Returns:
      Indices of the inputs that each block depends on, (blocks, span), and their weights, (blocks,
      BLOCK, span), which are 0 for outputs outside the axis.
    """
    scale = ops.cast(side, "float32") / ops.cast(resized, "float32")
    stretch = ops.maximum(scale, 1.0)  # widens the kernel when shrinking: antialiasing
    centres = outputs * scale
    lowest = ops.floor(ops.min(centres, axis=1, keepdims=True) - kernel.reach * stretch)
    span = ops.cast(ops.max((BLOCK - 1) * scale + 2 * kernel.reach * stretch), "int32") + 2
    inputs = ops.cast(lowest, "int32") + ops.arange(span, dtype="int32")  # (blocks, span)
    inside = ops.clip(inputs, 0, side - 1)
    distances = ops.cast(inputs, "float32")[:, None, :] + 0.5 - centres[:, :, None]
    is_inside = ops.cast(inside == inputs, "float32")[:, None, :]
    weights = kernel.weight(distances / stretch[:, :, None]) * is_inside
    weights = weights / ops.sum(weights, axis=2, keepdims=True)
    is_there = (outputs > 0) & (outputs < ops.cast(resized, "float32"))
    return inside, ops.where(is_there[:, :, None], weights, 0.0)
