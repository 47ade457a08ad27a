"""What a LeViT's attention looks at: bias tables and attention weights as pictures.

The tables are the network's own (paper, figure 5), the weights belong to one picture.
"""

from __future__ import annotations

import keras
import numpy as np

from levit_tf.attention import Attention
from levit_tf.attention_bias import Grid
from levit_tf.keras_graph.introspection import grids_of


def attention_layers(model: keras.Model) -> list[Attention]:
    """The attention layers of a LeViT, first to last.

    Raises:
      ValueError: `model` is not a LeViT in train form.
    """
    grids_of(model)  # which says what is missing
    return [layer for layer in model.layers if isinstance(layer, Attention)]


def bias_picture(table: np.ndarray, grid: Grid) -> np.ndarray:
    """The bias of one head over all offsets between a query and a key.

    Args:
      table: (height * width,) the head's learned scalars, see `levit_tf.attention_bias`.
      grid: (height, width) of the key grid.

    Returns:
      (2 * height - 1, 2 * width - 1): entry (height - 1 + dy, width - 1 + dx) is the bias of a key
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
    """What the query at one place of a picture attends to, in every attention layer.

    Args:
      model: a LeViT in train form.
      image: (height, width, channels), normalised as the model takes it.
      point: (y, x) of the place, in [0, 1): shares of the height and the width.

    Returns:
      Name of the layer -> (heads, height, width) over the layer's key grid; each head's map sums to
      1. In a layer that subsamples, the query is the one whose tokens hold the place.

    Raises:
      ValueError: `model` is no LeViT in train form, `image` has another shape, or `point` lies
        outside.
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
