"""From what a head says of each joint to x, y and confidence, inside the graph."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from levit_tf.layers import register

# A coordinate is the mean over what lies so many sigma around the likeliest place.
_REACH = 2


def places(pixels: int, count: int) -> np.ndarray:
    """Returns the middles of `count` equal parts of a side, float32 (count,), in pixels.

    The middle of the first pixel is 0, as joints are labelled.
    """
    return ((np.arange(count) + 0.5) * pixels / count - 0.5).astype(np.float32)


@register
class DecodeSimCC(keras.layers.Layer):
    """Two distributions, over x and over y (SimCC, arXiv 2107.03332), to a point.

    A coordinate is the mean over what lies within `sigma` of the likeliest place: finer than a bin.
    The confidence is the likelihood of the less likely of the two places, over that in the middle
    of the Gaussian that the head learned.

    Args:
      input_size: (height, width) of the picture, pixels.
      sigma: standard deviation of that Gaussian, pixels.
      joints: names, kept with the network.

    Input: {"x": (batch, joints, bins), "y": (batch, joints, bins)}, logits.
    Output shape: (batch, joints, 3): x, y in pixels of the network's input, confidence 0..1.
    """

    def __init__(self, input_size, sigma: float, joints=(), **kwargs):
        super().__init__(**kwargs)
        self.input_size = tuple(input_size)
        self.sigma = sigma
        self.joints = tuple(joints)

    def call(self, logits):
        found = []
        for axis, side in (("x", self.input_size[1]), ("y", self.input_size[0])):
            found.append(_peak(logits[axis], places(side, logits[axis].shape[-1]), self.sigma))
        (x, likely_x), (y, likely_y) = found
        return ops.stack([x, y, ops.minimum(likely_x, likely_y)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape["x"][:2], 3)

    def get_config(self):
        config = {"input_size": self.input_size, "sigma": self.sigma, "joints": self.joints}
        return {**super().get_config(), **config}


@register
class DecodeHeatmap(keras.layers.Layer):
    """One distribution over the cells of a grid to a point, as `DecodeSimCC` does it.

    Args:
      input_size: (height, width) of the picture, pixels.
      grid: (height, width) of the map, cells.
      sigma: as in `DecodeSimCC`.
      joints: names, kept with the network.

    Input shape: (batch, joints, cells), logits, row by row.
    Output shape: (batch, joints, 3): x, y in pixels of the network's input, confidence 0..1.
    """

    def __init__(self, input_size, grid, sigma: float, joints=(), **kwargs):
        super().__init__(**kwargs)
        self.input_size = tuple(input_size)
        self.grid = tuple(grid)
        self.sigma = sigma
        self.joints = tuple(joints)

    def call(self, logits):
        rows, columns = (places(s, g) for s, g in zip(self.input_size, self.grid, strict=True))
        x, y = np.tile(columns, len(rows)), np.repeat(rows, len(columns))  # of each cell
        share = ops.softmax(logits, axis=-1)
        best = _first_best(share)
        row = ops.floor(best / len(columns))
        near = 1.0
        for place, sides, index in ((x, columns, best - row * len(columns)), (y, rows, row)):
            middle = sides[0] + index * _step(sides)
            near = near * ops.cast(ops.abs(place - middle) <= _REACH * self.sigma, share.dtype)
        weights = share * near
        total = ops.sum(weights, axis=-1)
        cell = self.input_size[0] * self.input_size[1] / (self.grid[0] * self.grid[1])
        top = cell / (2 * math.pi * self.sigma**2)
        likely = ops.minimum(ops.max(share, axis=-1) / top, 1.0)
        means = [ops.sum(weights * place, axis=-1) / total for place in (x, y)]
        return ops.stack([*means, likely], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], 3)

    def get_config(self):
        config = {"input_size": self.input_size, "grid": self.grid}
        config.update(sigma=self.sigma, joints=self.joints)
        return {**super().get_config(), **config}


def read_joints(decoder: DecodeSimCC | DecodeHeatmap, logits: dict) -> Any:
    """Reads joints off what `levit_tf.keypoints.network.logits_of` returns.

    Args:
      decoder: of the network.
      logits: {"x", "y"} or {"heatmap"}.

    Returns:
      (batch, joints, 3), see the layers.
    """
    return decoder(logits if isinstance(decoder, DecodeSimCC) else logits["heatmap"])


def _peak(logits, place: np.ndarray, sigma: float):
    """Mean place around the likeliest bin of (batch, joints, bins), and how likely that is."""
    share = ops.softmax(logits, axis=-1)
    best = place[0] + _first_best(share) * _step(place)
    weights = share * ops.cast(ops.abs(place - best) <= _REACH * sigma, share.dtype)
    mean = ops.sum(weights * place, axis=-1) / ops.sum(weights, axis=-1)
    top = _step(place) / (math.sqrt(2 * math.pi) * sigma)
    return mean, ops.minimum(ops.max(share, axis=-1) / top, 1.0)


def _step(place: np.ndarray) -> float:
    return float(place[1] - place[0]) if len(place) > 1 else 0.0


def _first_best(share):
    """(..., 1): number of the likeliest of the last axis, the first of equal ones, as a float.

    Of operations that TFLite has: Keras' argmax looks at the bits of the numbers.
    """
    count = share.shape[-1]
    is_less = ops.cast(share < ops.max(share, axis=-1, keepdims=True), share.dtype)
    numbers = np.arange(count, dtype=np.float32)
    return ops.min(numbers + is_less * count, axis=-1, keepdims=True)
