"""A LeViT that finds joints: a neck that joins its three maps, and one of two heads.

Both heads have a map for each joint, which the neck enlarges. SimCC (arXiv 2107.03332) tells x and
y apart: a joint's map is flattened, and two linear layers say how likely each of many places on a
side is. A heatmap is larger and says it of each of its cells. Both are trained towards a Gaussian
around the joint and read in the same way, see `levit_tf.keypoints.decoding`.
"""

from __future__ import annotations

import keras
import numpy as np

from levit_common.shipped_names import KEYPOINTS
from levit_tf.heads import feature_extractor
from levit_tf.keypoints.decoding import DecodeHeatmap, DecodeSimCC, places
from levit_tf.keypoints.skeletons import Skeleton
from levit_tf.layers import DenseBN
from levit_tf.names import stage_name
from levit_tf.variants import STAGES

HEADS = ("simcc", "heatmap")
DECODER = "decode"
NECK_CHANNELS = 128
BINS_PER_PIXEL = 2
STRIDES = {"simcc": 8, "heatmap": 4}  # of a joint's map, pixels
_GAIN = 4.0  # of a fresh SimCC head's logits over the means of its map; the only one tried


def keypoint_network(
    backbone: keras.Model,
    skeleton: Skeleton,
    head: str = "simcc",
    sigma: float | None = None,
) -> keras.Model:
    """Puts a head for joints on a LeViT, whose layers it shares.

    Args:
      backbone: a LeViT for pictures of a fixed size, with or without its top, which is left out.
      skeleton: the joints.
      head: one of `HEADS`.
      sigma: standard deviation of the Gaussian that is learned, pixels; by default a 32nd of the
        longer side.

    Returns:
      A model of the same input. Its output "keypoints", (batch, joints, 3), is x and y in pixels of
      the input, the middle of the first being 0, and confidence 0..1. `logits_of` is what learns.

    Raises:
      ValueError: another head, or `backbone` is no LeViT, or of an open size.
    """
    if head not in HEADS:
        raise ValueError(f"head must be one of {HEADS}. Received: {head!r}")
    size = backbone.input_shape[1:3]
    if None in size:
        raise ValueError(
            f"Model {backbone.name!r}: joints are found in pictures of a fixed size. Received: "
            f"{size}. levit_tf.with_input_size fixes it."
        )
    sigma = max(size) / 32 if sigma is None else sigma
    maps = feature_extractor(backbone).output
    activation = keras.activations.serialize(
        backbone.get_layer(f"{stage_name(0)}_blocks_0_mlp").activation
    )
    grid = maps[stage_name(0)].shape[1:3]
    x = _neck([maps[stage_name(stage)] for stage in range(STAGES)], grid, activation)
    count = len(skeleton.joints)
    cells = tuple(side // STRIDES[head] for side in size)
    while x.shape[1] < cells[0]:
        larger = [min(2 * side, most) for side, most in zip(x.shape[1:3], cells, strict=True)]
        x = _convolved(_resized(x, larger, f"enlarge_{larger[0]}"), activation, larger[0])
    cells = tuple(x.shape[1:3])
    x = keras.layers.Conv2D(count, 1, name="joints")(x)  # (batch, height, width, joints)
    x = keras.layers.Reshape((cells[0] * cells[1], count), name="joints_flat")(x)
    name = "joints_first" if head == "simcc" else "heatmap"
    x = keras.layers.Permute((2, 1), name=name)(x)  # (batch, joints, cells)
    if head == "simcc":
        logits = {axis: _axis_logits(x, axis, cells, size) for axis in ("x", "y")}
        decode = DecodeSimCC(size, sigma, skeleton.joints, name=DECODER, dtype="float32")
    else:
        logits = x
        decode = DecodeHeatmap(size, cells, sigma, skeleton.joints, name=DECODER, dtype="float32")
    return keras.Model(backbone.input, {KEYPOINTS: decode(logits)}, name=f"{backbone.name}_{head}")


def logits_of(model: keras.Model) -> keras.Model:
    """Returns the part of a `keypoint_network` that learns: up to the logits, with its layers.

    Returns:
      A model whose outputs are {"x", "y"} or {"heatmap"}, see `levit_tf.keypoints.decoding`.
    """
    is_simcc = isinstance(model.get_layer(DECODER), DecodeSimCC)
    logits = {
        name: model.get_layer(name).output for name in (("x", "y") if is_simcc else ("heatmap",))
    }
    return keras.Model(model.input, logits, name=model.name)


def _neck(maps, grid, activation):
    """The sum of all stages on the grid of the first, and a convolution over it."""
    parts = []
    for stage, x in enumerate(maps):
        x = DenseBN(NECK_CHANNELS, name=f"neck_{stage}")(x)
        parts.append(_resized(x, grid, f"neck_{stage}_resize"))
    x = keras.layers.Add(name="neck")(parts)
    x = keras.layers.Activation(activation, name="neck_act")(x)
    return _convolved(x, activation, grid[0])


def _axis_logits(x, axis: str, cells, size):
    """(batch, joints, cells) to the logits of one side, (batch, joints, bins).

    The linear layer begins as the mean of the map's rows or columns, interpolated: what the map
    says of a place counts there from the first step on. With random weights a head first has to
    learn where its cells lie, and finds fewer joints after as many epochs (docs/keypoints.md).
    """
    of_axis, other = (1, 0) if axis == "x" else (0, 1)
    bins = size[of_axis] * BINS_PER_PIXEL
    logits = keras.layers.Dense(bins, name=axis)
    x = logits(x)
    count = cells[of_axis]
    at = places(count, bins)  # of each bin, in cells
    along = np.stack([np.interp(at, np.arange(count), row) for row in np.eye(count)])
    kernel = np.repeat(np.expand_dims(along, other), cells[other], other)  # (rows, columns, bins)
    logits.kernel.assign(_GAIN * kernel.reshape(-1, bins) / cells[other])
    return x


def _resized(x, size, name: str):
    if tuple(x.shape[1:3]) == tuple(size):
        return x
    return keras.layers.Resizing(
        *size, interpolation="bilinear", data_format="channels_last", name=name
    )(x)


def _convolved(x, activation, size: int):
    x = keras.layers.Conv2D(NECK_CHANNELS, 3, padding="same", name=f"neck_conv_{size}")(x)
    return keras.layers.Activation(activation, name=f"neck_conv_{size}_act")(x)
