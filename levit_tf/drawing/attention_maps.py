"""Bias tables and attention weights of a LeViT as pictures.

The tables are weights of the network (paper, figure 5); attention weights depend on the picture.
"""

from __future__ import annotations

import keras
import numpy as np

from levit_tf.attention import Attention
from levit_tf.attention_bias import Grid
from levit_tf.keras_graph.introspection import grids_of


def attention_layers(model: keras.Model) -> list[Attention]:
    """Returns the attention layers of a LeViT, first to last.

    Raises:
      ValueError: `model` is not a LeViT in train form.
    """
    grids_of(model)  # raises an error that names the missing layer
    return [layer for layer in model.layers if isinstance(layer, Attention)]


def bias_picture(table: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns the bias of one head for all offsets between a query and a key.

    Args:
      table: (height * width,), the learned scalars of the head, see `levit_tf.attention_bias`.
      grid: (height, width) of the key grid.

    Returns:
      (2 * height - 1, 2 * width - 1); entry (height - 1 + dy, width - 1 + dx) is the bias of a key
      that lies dy below and dx to the right of the query.
    """
    height, width = grid
    corner = np.asarray(table).reshape(height, width)  # (height * width,) -> (|dy|, |dx|)
    rows = np.abs(np.arange(1 - height, height))
    columns = np.abs(np.arange(1 - width, width))
    return corner[rows][:, columns]


def attention_maps(
    model: keras.Model, image: np.ndarray, point: tuple[float, float] = (0.5, 0.5)
) -> dict[str, np.ndarray]:
    """Returns the attention weights of the query at one point of a picture, for every layer.

    Args:
      model: a LeViT in train form.
      image: (height, width, channels), normalised as the model expects.
      point: (y, x) of the point, as fractions of height and width in [0, 1).

    Returns:
      Name of the layer -> (heads, height, width) over the layer's key grid; the map of each head
      sums to 1. In a subsampling layer, the query is the one whose area contains the point.

    Raises:
      ValueError: `model` is not a LeViT in train form, `image` has another shape, or `point` lies
        outside the picture.
    """
    if not all(0 <= share < 1 for share in point):
        raise ValueError(f"point must be (y, x), shares in [0, 1). Received: {point}")
    layers = attention_layers(model)
    if tuple(image.shape) != tuple(model.input_shape[1:]):
        raise ValueError(
            f"The image must have shape {tuple(model.input_shape[1:])}. Received: {image.shape}"
        )
    inputs = keras.Model(model.input, [layer.input for layer in layers])
    found = {}
    for layer, x in zip(layers, inputs(image[None], training=False), strict=True):
        weights = keras.ops.convert_to_numpy(layer.attention_weights(x))[0]
        y, x = (int(share * side) for share, side in zip(point, layer.output_grid, strict=True))
        # (heads, queries, keys) -> (heads, height, width)
        found[layer.name] = weights[:, y * layer.output_grid[1] + x].reshape(-1, *layer.grid)
    return found
