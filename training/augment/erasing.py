"""Random erasing: replaces a rectangle of a normalised image with noise.

Source: `RandomErasing` of timm/data/random_erasing.py, mode "pixel", one rectangle per image.
"""

from __future__ import annotations

import math

import tensorflow as tf

from training.augment.operations import size_of

ATTEMPTS = 10


def draw_rectangle(
    seed: tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> tf.Tensor:
    """Draws the rectangle to erase: the first of `ATTEMPTS` that is smaller than the image.

    Args:
      seed: (2,) integers; the same seed draws the same rectangle.
      height: height of the image, pixels.
      width: width of the image, pixels.
      area: smallest and largest area, as a fraction of the image's area; uniformly distributed.
      aspect: smallest and largest height / width; its logarithm is uniformly distributed.

    Returns:
      (top, left, height, width), int32; all 0 if none fits.
    """
    draws = tf.random.stateless_uniform([4, ATTEMPTS], seed)
    y, x = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    areas = (area[0] + (area[1] - area[0]) * draws[0]) * y * x
    low, high = math.log(aspect[0]), math.log(aspect[1])
    aspects = tf.exp(low + (high - low) * draws[1])
    heights, widths = tf.round(tf.sqrt(areas * aspects)), tf.round(tf.sqrt(areas / aspects))
    fits = (heights < y) & (widths < x)
    tops, lefts = tf.floor(draws[2] * (y - heights + 1)), tf.floor(draws[3] * (x - widths + 1))
    rectangles = tf.cast(tf.stack([tops, lefts, heights, widths], axis=1), tf.int32)
    first = tf.argmax(fits, output_type=tf.int32)
    return tf.where(fits[first], rectangles[first], 0)


def erase(image: tf.Tensor, rectangle: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Replaces a rectangle with noise of mean 0 and standard deviation 1.

    Args:
      image: (height, width, channels) float32, normalised.
      rectangle: (top, left, height, width), int32.
      seed: (2,) integers; the same seed gives the same noise.

    Returns:
      An image with the shape and type of `image`.
    """
    top, left, height, width = tf.unstack(rectangle)
    channels = image.shape[-1]
    noise = tf.random.stateless_normal([height, width, channels], seed)
    lines = image[top : top + height]
    lines = tf.concat([lines[:, :left], noise, lines[:, left + width :]], axis=1)
    erased = tf.concat([image[:top], lines, image[top + height :]], axis=0)
    return tf.ensure_shape(erased, image.shape)


def random_erasing(image: tf.Tensor, seed: tf.Tensor, probability: float = 0.25) -> tf.Tensor:
    """Erases a random rectangle of an image with some probability.

    Args:
      image: (height, width, channels) float32, normalised.
      seed: (2,) integers; the same seed gives the same result.
      probability: probability of erasing.

    Returns:
      An image with the shape and type of `image`.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))

    def erased():
        return erase(image, draw_rectangle(seeds[1], *size_of(image)), seeds[2])

    chosen = tf.random.stateless_uniform([], seeds[0]) < probability
    return tf.cond(chosen, erased, lambda: tf.identity(image))
