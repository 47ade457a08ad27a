"""Runs a network on people cut out of pictures and returns joints in pixels of the pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from levit_tf.keypoints.measures import Quality, measure
from levit_tf.keypoints.skeletons import Skeleton
from training.keypoints.people import Crops

BATCH = 32


def inputs_of(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the middles of `Crops.pixels`, or of some: (people, *size, 3) float32, RGB 0..255."""
    top, left = _corner(pixels, size)
    return pixels[:, top : top + size[0], left : left + size[1]].astype(np.float32)


def in_pictures(found: np.ndarray, crops: Crops, size: tuple[int, int]) -> np.ndarray:
    """Joints in pixels of `inputs_of`, (people, joints, 3), to pixels of the pictures."""
    top, left = _corner(crops.pixels, size)
    scale, offset = crops.to_picture[:, None, :1], crops.to_picture[:, None, 1:]
    places = scale * (found[..., :2] + [left, top]) + offset
    return np.concatenate([places, found[..., 2:]], axis=-1)


def evaluate(
    run: Callable[[np.ndarray], np.ndarray],
    crops: Crops,
    size: tuple[int, int],
    skeleton: Skeleton,
    batch: int = BATCH,
) -> Quality:
    """Measures a network.

    Args:
      run: plain pixels (n, *size, 3) -> joints (n, joints, 3) in them.
      crops: people.
      size: (height, width) of its input.
      skeleton: the joints.
      batch: people at a time.
    """
    groups = (crops.pixels[n : n + batch] for n in range(0, len(crops.pixels), batch))
    found = np.concatenate([run(inputs_of(pixels, size)) for pixels in groups])
    return measure(in_pictures(found, crops, size), crops.in_picture, skeleton)


def _corner(pixels: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """(top, left) of the middles of crops."""
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape[1:3], size, strict=True))
    return top, left
