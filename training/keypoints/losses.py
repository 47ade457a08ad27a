"""Losses of the heads: cross-entropy with a Gaussian around each labelled joint.

Of a target distribution the cross-entropy differs from the Kullback-Leibler divergence, which
SimCC and its successors name, by a constant; its gradient is the same.
"""

from __future__ import annotations

import keras
from keras import ops

from levit_tf.keypoints.decoding import places


class AxisLoss(keras.losses.Loss):
    """Loss of a distribution over the places of one side, for `keypoints.decoding.DecodeSimCC`.

    Args:
      axis: 0 for x, 1 for y.
      pixels: the side of the input.
      sigma: of the Gaussian, pixels.
    """

    def __init__(self, axis: int, pixels: int, sigma: float, name="axis_loss"):
        super().__init__(name=name)
        self._axis, self._pixels, self._sigma = axis, pixels, sigma

    def call(self, joints, logits):
        """(batch, joints, 3) and (batch, joints, bins) -> (batch,)."""
        place = places(self._pixels, logits.shape[-1])
        distance = ops.cast(joints[..., self._axis], "float32")[..., None] - place
        target = ops.softmax(-(distance**2) / (2 * self._sigma**2), axis=-1)
        return _over_labelled(target, logits, joints[..., 2])


class HeatmapLoss(keras.losses.Loss):
    """Loss of a distribution over the cells of a grid, for `DecodeHeatmap`.

    Args:
      size: (height, width) of the input, pixels.
      grid: (height, width) of the map, cells.
      sigma: of the Gaussian, pixels.
    """

    def __init__(self, size, grid, sigma: float, name="heatmap_loss"):
        super().__init__(name=name)
        self._sides, self._sigma = tuple(zip(size, grid, strict=True)), sigma

    def call(self, joints, logits):
        """(batch, joints, 3) and (batch, joints, cells) -> (batch,)."""
        joints = ops.cast(joints, "float32")
        squares = [
            (joints[..., axis, None] - places(*self._sides[1 - axis])) ** 2 for axis in (0, 1)
        ]
        square = squares[1][..., :, None] + squares[0][..., None, :]  # (batch, joints, rows, cols)
        flat = ops.reshape(square, (-1, square.shape[1], logits.shape[-1]))
        target = ops.softmax(-flat / (2 * self._sigma**2), axis=-1)
        return _over_labelled(target, logits, joints[..., 2])


def _over_labelled(target, logits, there):
    """Cross-entropy of the labelled joints, its mean over all joints: (batch,)."""
    entropy = -ops.sum(target * ops.log_softmax(ops.cast(logits, "float32"), axis=-1), axis=-1)
    return ops.mean(entropy * ops.cast(there > 0, "float32"), axis=-1)
