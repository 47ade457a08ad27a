"""Augmentation that moves joints along with the pixels: one affine map for both."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from levit_tf.keypoints.skeletons import Skeleton
from levit_tf.preprocessing import preprocess_input


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Ranges of the random changes of a crop; each value is drawn uniformly.

    Attributes:
      rotation: degrees in either direction.
      scale: smallest and largest factor of the person.
      shift: share of the input's sides in either direction.
      flip: probability of a mirror image, left joints becoming right ones.
      brightness: factor 1 - b to 1 + b of all colours.
    """

    rotation: float = 40.0
    scale: tuple[float, float] = (0.75, 1.25)
    shift: float = 0.08
    flip: float = 0.5
    brightness: float = 0.3


def moved(
    pixels: tf.Tensor,
    joints: tf.Tensor,
    size: tuple[int, int],
    skeleton: Skeleton,
    ranges: Ranges,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws a map and applies it to people and their joints.

    Args:
      pixels: (batch, height, width, 3) uint8, see `training.keypoints.people.Crops`.
      joints: (batch, joints, 3) float32 in their pixels.
      size: (height, width) of the network's input.
      skeleton: says which joints are mirror images.
      ranges: what is drawn from.
      seed: (2,) int32.

    Returns:
      Normalised images (batch, *size, 3) float32, and joints in their pixels, of which those that
      lie outside are no longer labelled.
    """
    count = tf.shape(pixels)[0]
    seeds = tf.unstack(tf.random.split(seed, 6))

    def draw(n, low, high):
        return tf.random.stateless_uniform([count], seeds[n], low, high)

    angle = draw(0, -ranges.rotation, ranges.rotation) * (3.14159265 / 180)
    scale = draw(1, *ranges.scale) if ranges.scale[0] < ranges.scale[1] else tf.ones([count])
    is_flipped = draw(2, 0.0, 1.0) < ranges.flip
    right = draw(3, -ranges.shift, ranges.shift) * size[1] if ranges.shift else tf.zeros([count])
    down = draw(4, -ranges.shift, ranges.shift) * size[0] if ranges.shift else tf.zeros([count])
    mirror = tf.where(is_flipped, -1.0, 1.0)

    # output = A (place - middle of the crop) + middle of the input + shift
    cos, sin = scale * tf.cos(angle), scale * tf.sin(angle)
    a, b, c, d = cos * mirror, -sin, sin * mirror, cos
    middle = [(side - 1) / 2 for side in pixels.shape[1:3]]
    target = (size[1] - 1) / 2 + right, (size[0] - 1) / 2 + down
    x, y, there = tf.unstack(joints, axis=-1)
    dx, dy = x - middle[1], y - middle[0]
    new_x = a[:, None] * dx + b[:, None] * dy + target[0][:, None]
    new_y = c[:, None] * dx + d[:, None] * dy + target[1][:, None]
    inside = (new_x >= 0) & (new_y >= 0) & (new_x <= size[1] - 1) & (new_y <= size[0] - 1)
    new = tf.stack([new_x, new_y, there * tf.cast(inside, tf.float32)], axis=-1)
    swapped = tf.gather(new, skeleton.mirrored, axis=1)
    new = tf.where(is_flipped[:, None, None], swapped, new)

    # The operation wants the way back: where in the crop a pixel of the output comes from.
    determinant = a * d - b * c
    ia, ib, ic, id_ = d / determinant, -b / determinant, -c / determinant, a / determinant
    back_x = middle[1] - ia * target[0] - ib * target[1]
    back_y = middle[0] - ic * target[0] - id_ * target[1]
    zero = tf.zeros([count])
    transforms = tf.stack([ia, ib, back_x, ic, id_, back_y, zero, zero], axis=1)
    images = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32),
        transforms=transforms,
        output_shape=tf.constant(size, tf.int32),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    if ranges.brightness:
        factor = draw(5, 1 - ranges.brightness, 1 + ranges.brightness)
        images = tf.clip_by_value(images * factor[:, None, None, None], 0.0, 255.0)
    return preprocess_input(tf.ensure_shape(images, [None, *size, 3])), new
