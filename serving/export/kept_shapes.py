"""Fits pictures so that they keep their shape, for networks that accept every size.

A picture larger than a limit is made smaller; then both sides become the nearest multiples of the
stem's stride. So the pictures of a request have different sizes. Each is placed in the upper left
corner of a square of the limit's size, and the network runs on one picture after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from levit_tf.resizing import resize_part

Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def check_limit(limit: int, stride: int) -> None:
    """Raises ValueError if the limit cannot be a side of the network's input."""
    if limit < stride or limit % stride:
        lower = max(limit // stride * stride, stride)
        raise ValueError(
            f"--keep_shape_up_to must be a positive multiple of the stem's stride of {stride} "
            f"pixels. Received: {limit}; the nearest that fit are {lower} and {lower + stride}."
        )


def kept_size(height: Any, width: Any, limit: int, stride: int) -> tuple[Any, Any]:
    """Returns (height, width) of the resized picture.

    Args:
      height: height of the picture, pixels; an int, or an integer tensor.
      width: width of the picture, in the same way.
      limit: largest side of the result.
      stride: number of which the sides of the result are multiples.
    """
    is_number = isinstance(height, int)
    larger, smaller = (max, min) if is_number else (tf.maximum, tf.minimum)
    if not is_number:
        height, width = (tf.cast(side, tf.int64) for side in (height, width))  # for the products
    longest = larger(larger(height, width), limit)
    found = []
    for side in (height, width):
        # side * limit / longest, to the nearest multiple
        steps = (2 * side * limit + longest * stride) // (2 * longest * stride)
        found.append(smaller(larger(steps, 1), limit // stride) * stride)
    return tuple(found if is_number else (tf.cast(side, tf.int32) for side in found))


def keep_shape(limit: int, stride: int) -> Callable[[Any, tuple[int, int]], Any]:
    """Makes a function that fits a picture into a square of `limit`, for `picture_graph`."""

    def fit(image, size):
        sides = tf.shape(image)[:2] if tf.is_tensor(image) else image.shape[:2]
        resized = kept_size(sides[0], sides[1], limit, stride)
        return resize_part(image, resized, (0, 0), size)

    return fit


def one_by_one(
    network: Network,
    outputs: Mapping[str, int],
    images: tf.Tensor,
    sides: tf.Tensor,
    limit: int,
    stride: int,
) -> dict[str, tf.Tensor]:
    """Runs a network on each picture of a batch separately.

    Args:
      network: function from images of any size to outputs by name, (batch, n).
      outputs: from names of the outputs to n.
      images: (batch, limit, limit, 3) uint8, fitted by `keep_shape`.
      sides: original (height, width) of the pictures, (batch, 2).
      limit: see `kept_size`.
      stride: see `kept_size`.

    Returns:
      The outputs of all pictures, (batch, n).
    """
    rows, columns = kept_size(sides[:, 0], sides[:, 1], limit, stride)

    def alone(one):
        image, height, width = one
        found = network(tf.cast(image[None, :height, :width], tf.float32))
        return {name: y[0] for name, y in found.items()}

    spec = {name: tf.TensorSpec([count], tf.float32) for name, count in outputs.items()}
    return tf.map_fn(alone, (images, rows, columns), fn_output_signature=spec)
