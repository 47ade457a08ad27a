"""Cropping for training: a random part of a picture, resized, or a randomly shifted picture.

Source: `RandomResizedCropAndInterpolation` of timm/data/transforms.py, torchvision's
RandomHorizontalFlip and RandomCrop, and `Image.resize` of Pillow.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from levit_tf.resizing import BLOCK, output_blocks, resize_filters
from training.augment.operations import size_of

ATTEMPTS = 10


def draw_box(
    seed: tf.Tensor,
    height: tf.Tensor | int,
    width: tf.Tensor | int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Draws the box of a picture to train on.

    It is the first of `ATTEMPTS` random boxes that fits into the picture. If none does, it is the
    largest centred box whose ratio is within the bounds.

    Args:
      seed: (2,) integers; the same seed draws the same box.
      height: height of the picture, pixels.
      width: width of the picture, pixels.
      scale: smallest and largest area, as a fraction of the picture's area; uniformly distributed.
      ratio: smallest and largest width / height; its logarithm is uniformly distributed.

    Returns:
      (top, left, height, width), int32.
    """
    draws = tf.random.stateless_uniform([4, ATTEMPTS], seed)
    size = tf.cast(tf.stack([height, width]), tf.float32)
    bounds = size[:, None]  # (2, 1), for all attempts
    area = (scale[0] + (scale[1] - scale[0]) * draws[0]) * tf.reduce_prod(size)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    log_ratio = low + (high - low) * draws[1]
    # Heights and widths, (2, ATTEMPTS): sqrt(area / ratio) and sqrt(area * ratio).
    sides = tf.round(tf.sqrt(area * tf.exp(log_ratio * [[-1.0], [1.0]])))
    sides = tf.maximum(sides, 1.0)  # a share of a picture of few pixels may be less than one
    corners = tf.floor(draws[2:] * (bounds - sides + 1))
    fits = tf.reduce_all(sides <= bounds, axis=0)
    first = tf.argmax(fits, output_type=tf.int32)  # 0 if none fits

    largest = tf.minimum(size, tf.round(size[::-1] * [1 / ratio[0], ratio[1]]))
    fallback = tf.concat([tf.floor((size - largest) / 2), largest], axis=0)
    box = tf.gather(tf.concat([corners, sides], axis=0), first, axis=1)
    return tf.cast(tf.where(fits[first], box, fallback), tf.int32)


def draw_flip(seed: tf.Tensor, probability: float = 0.5) -> tf.Tensor:
    """Draws whether to flip the picture left to right; a scalar bool."""
    return tf.random.stateless_uniform([], seed) < probability


def resize(image: tf.Tensor, size: tuple[int, int], flip: tf.Tensor | bool = False) -> tf.Tensor:
    """Resizes an image, bicubic with antialiasing, as Pillow does.

    All but about one value in 10,000 equal those of `Image.resize(..., BICUBIC)`; these differ by
    one grey level. It uses matrix products over the few inputs that each output depends on, which
    is three to five times as fast as `tf.image.resize`.

    Args:
      image: (height, width, 3) uint8; height and width may be unknown while the graph is built.
      size: (height, width) of the result, pixels.
      flip: whether to flip left to right as well; a scalar.

    Returns:
      (*size, 3) uint8.
    """
    height, width = size_of(image)
    inputs, weights = _filters((width, height), (size[1], size[0]), (flip, False))
    # Pillow resizes the rows first and rounds to whole levels in between. For each step, the axis
    # to resize is moved to the front; both transpositions are of plain matrices, which are fast.
    x = tf.transpose(tf.reshape(image, [height, width * 3]))  # (width * 3, height)
    x = _filtered(tf.reshape(x, [width, 3 * height]), inputs[0], weights[0], size[1])
    x = tf.transpose(tf.reshape(x, [size[1] * 3, height]))  # (height, size[1] * 3)
    return tf.reshape(_filtered(x, inputs[1], weights[1], size[0]), [*size, 3])


def _filters(sides, sizes, reverse) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Computes the resize filters of both axes together, since they are many small ops.

    Args:
      sides: sizes of the image along both axes, pixels.
      sizes: sizes of the result along both axes, pixels.
      reverse: for each axis, whether the outputs are in reverse order.

    Returns:
      For each axis, the indices of the inputs, (blocks, span), and their weights, (blocks, BLOCK,
      span).
    """
    outputs = []
    for size, backwards in zip(sizes, reverse, strict=True):
        middles = output_blocks(size)
        outputs.append(
            middles if backwards is False else tf.where(backwards, size - middles, middles)
        )
    blocks = [middles.shape[0] for middles in outputs]
    # Both axes stacked: (blocks, 1) each.
    side = tf.repeat(tf.stack(sides), blocks)[:, None]
    resized = np.repeat(sizes, blocks)[:, None]
    inputs, weights = resize_filters(tf.concat(outputs, axis=0), side, resized)
    return tf.split(inputs, blocks), tf.split(weights, blocks)


def _filtered(x: tf.Tensor, inputs: tf.Tensor, weights: tf.Tensor, size: int) -> tf.Tensor:
    """Applies the filters: (n, columns) uint8 -> (size, columns) uint8.

    It uses TensorFlow's ops rather than those of Keras, which `levit_tf.preprocessing` uses,
    because this runs for every picture of every epoch.
    """
    columns = tf.shape(x)[1]
    values = tf.matmul(weights, tf.cast(tf.gather(x, inputs), tf.float32))
    # (blocks, BLOCK, columns) -> (blocks * BLOCK, columns)
    values = tf.reshape(values, [-1, columns])
    if weights.shape[0] * BLOCK != size:
        values = values[:size]
    # One pass over the values; tf.clip_by_value makes two.
    values = tf.raw_ops.ClipByValue(t=values + 0.5, clip_value_min=0.5, clip_value_max=255.5)
    return tf.cast(values, tf.uint8)  # halves upwards


def decode_box(contents: tf.Tensor, choose_box) -> tf.Tensor:
    """Decodes one part of an encoded picture.

    The result equals that of decoding the whole picture and cutting. For a JPEG, only this part is
    decoded.

    Args:
      contents: the bytes of a JPEG, PNG, GIF (the first frame) or BMP file, a scalar string.
      choose_box: function of (height, width), int32 scalars, that returns (top, left, height,
        width), int32.

    Returns:
      (height, width, 3) uint8; height and width are unknown while the graph is built.
    """

    def part_of_jpeg():
        size = tf.image.extract_jpeg_shape(contents)[:2]
        box = choose_box(size[0], size[1])
        # Colour is stored at half the resolution and interpolated from neighbours. With a margin,
        # the border of the part has the same pixels as in the whole picture.
        low = tf.maximum(box[:2] - 2, 0)
        high = tf.minimum(box[:2] + box[2:] + 2, size)
        # The slow, accurate cosine transform is Pillow's default, and gives its pixels.
        image = tf.io.decode_and_crop_jpeg(
            contents, tf.concat([low, high - low], 0), channels=3, dct_method="INTEGER_ACCURATE"
        )
        return cut(image, tf.concat([box[:2] - low, box[2:]], 0))

    def part_of_another():
        image = tf.io.decode_image(contents, channels=3, expand_animations=False)
        image = tf.ensure_shape(image, [None, None, 3])
        height, width = size_of(image)
        return cut(image, choose_box(height, width))

    return tf.cond(tf.io.is_jpeg(contents), part_of_jpeg, part_of_another)


def cut(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Cuts the box (top, left, height, width) out of an image."""
    corner, sides = tf.split(box, 2)
    return tf.slice(image, tf.concat([corner, [0]], 0), tf.concat([sides, image.shape[2:]], 0))


def padded_crop(image: tf.Tensor, seed: tf.Tensor, padding: int = 4) -> tf.Tensor:
    """Pads an image with a black border and takes a random crop of the original size.

    Args:
      image: (height, width, channels).
      seed: (2,) integers; the same seed crops in the same place.
      padding: width of the border on each side, pixels.

    Returns:
      An image with the shape and type of `image`.
    """
    border = [[padding, padding], [padding, padding], [0, 0]]
    corner = tf.random.stateless_uniform([2], seed, 0, 2 * padding + 1, tf.int32)
    height, width = size_of(image)
    part = cut(tf.pad(image, border), tf.concat([corner, [height, width]], 0))
    return tf.ensure_shape(part, image.shape)
