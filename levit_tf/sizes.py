"""`with_input_size()`: copies a network for pictures of another size, or of every size."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from levit_tf.attention import TableAttention
from levit_tf.keras_graph.flatten import flatten
from levit_tf.keras_graph.graph_calls import calls_of, copied
from levit_tf.layers import ConvBN, DivisibleSides
from levit_tf.names import SIDES
from levit_tf.variants import check_sides


def with_input_size(
    model: keras.Model, input_size: Sequence[int | None] | int | None
) -> keras.Model:
    """Copies a network for pictures of another size.

    The copy keeps the trained tables of attention biases and resizes them in every call. (To get
    tables of the new size for further training, build a LeViT and call
    `levit_tf.transfer_weights`.)

    Args:
      model: a LeViT in train form, or a LeViT for every size in train or deploy form; or a
        functional or Sequential model that contains one and takes one image.
      input_size: (height, width) in pixels, or one number for both; None leaves a side, or both,
        open.

    Returns:
      A model of the same name, with its own layers and weights.

    Raises:
      ValueError: `model` contains no LeViT in train form, or its stem cannot divide the size, or a
        layer of `model` accepts only its present size.
    """
    flat = flatten(model)
    if not any(isinstance(layer, TableAttention) for layer in flat.layers):
        raise ValueError(
            f"Model {model.name!r} contains no LeViT in train form. A fused network for one size "
            "cannot change it: call this function first, then fuse its result."
        )
    if input_size is None or isinstance(input_size, int):
        input_size = (input_size, input_size)
    steps = [layer for layer in flat.layers if isinstance(layer, ConvBN)]
    has_check = any(isinstance(layer, DivisibleSides) for layer in flat.layers)
    stride = side_stride(flat) if has_check else 2 ** len(steps)
    check_sides(f"{model.name}: the input's", tuple(input_size), stride)
    (old,) = flat.inputs
    # The first layer of the stem in train form: the check of an open size goes before it, unless
    # the model has such a check already.
    first = next((call.operation for call in calls_of(flat) if call.operation in steps), None)

    def config_of(layer):
        config = layer.get_config()
        if isinstance(layer, TableAttention):
            config["table_grid"] = layer.table_grid
        return config

    def call(layer, *args, **kwargs):
        if None in input_size and not has_check and layer.name == first.name:
            args = (DivisibleSides(stride, name=SIDES.format(stride))(args[0]), *args[1:])
        return layer(*args, **kwargs)

    shape = (old.shape[0], *input_size, old.shape[-1])
    return copied(flat, call, shape=shape, config_of=config_of)


def fixed_size(model: keras.Model, source: str) -> tuple[int, int]:
    """Returns the (height, width) of the pictures that a model of one image takes.

    Args:
      model: a Keras model.
      source: its file, for the error message.

    Raises:
      ValueError: the model takes pictures of every size.
    """
    size = tuple(model.inputs[0].shape[1:3])
    if None in size:
        raise ValueError(
            f"{source}: takes pictures of every size, and one is needed here. "
            "levit_tf.with_input_size(model, (height, width)) makes a network for it."
        )
    return size


def side_stride(model: keras.Model) -> int:
    """Returns the number of pixels that the sides of the pictures must be multiples of.

    Args:
      model: a LeViT for pictures of every size, in train or deploy form; for other models the
        result is 1.
    """
    found = (layer.stride for layer in flatten(model).layers if isinstance(layer, DivisibleSides))
    return next(found, 1)


def table_size(model: keras.Model) -> tuple[int, int]:
    """Returns (height, width) in pixels of the pictures that the attention bias tables are for.

    Args:
      model: a LeViT for pictures of every size, in train or deploy form.

    Raises:
      ValueError: `model` is of another kind.
    """
    flat = flatten(model)
    first = next((x for x in flat.layers if isinstance(x, TableAttention)), None)
    if first is None:
        raise ValueError(f"Model {model.name!r} has no tables of attention biases.")
    rows, columns = first.table_grid
    return rows * side_stride(flat), columns * side_stride(flat)
