"""Checks the shape of the input inside a served graph, before any kernel runs.

The shape that a SavedModel declares is only a description. Neither TensorFlow Serving's session nor
the functions of `tf.saved_model.load` check it, and some kernels do not either: a picture without a
batch axis crashes the process in a convolution, and pictures of other sizes give meaningless
results. So the graph itself checks the shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_SHOWN = 32  # largest number of sides of a wrong shape to show in an error


def checked_batch(
    x: tf.Tensor,
    name: str,
    shape: Sequence[int | None],
    most: int | None = None,
    stride: int = 1,
    largest: int | None = None,
) -> tf.Tensor:
    """Passes on a batch of the right shape, and refuses everything else.

    Args:
      x: tensor sent by a client, of any actual rank and size.
      name: name of the input, for the error message.
      shape: shape of one element of the batch; None for an open side.
      most: largest batch size; None for any.
      stride: number that the sides of images must be multiples of, if they are open.
      largest: largest side of images, if they are open; None for any.

    Returns:
      `x`, of shape (batch, *shape) with batch from 1 to `most`. For any other shape the graph fails
      with an InvalidArgumentError that states the expected and the actual shape.
    """
    # After this operation the static shape is unknown. Otherwise Python, when it builds the graph,
    # and the optimiser, when it loads it, would trust the declared shape and remove the check.
    real = tf.raw_ops.PlaceholderWithDefault(input=x, shape=tf.TensorShape(None))
    sizes = tf.shape(real)
    # Shapes of different rank compare as unequal, without an error.
    wanted = [-1 if side is None else side for side in shape]
    same = tf.raw_ops.Equal(
        x=sizes[1:], y=tf.constant(wanted, tf.int32, [len(shape)]), incompatible_shape_error=False
    )
    if None in shape:
        same |= tf.constant([side is None for side in shape])
    is_batch = tf.equal(tf.size(sizes), 1 + len(shape)) & tf.reduce_all(same)
    expected = (
        ", ".join(["(batch", *("any" if side is None else str(side) for side in shape)])
        + ("" if shape else ",")
        + ")"
    )
    if stride > 1 or largest is not None:
        expected += f" with height and width multiples of {stride}"
        expected += "" if largest is None else f", at most {largest}"
        sides = sizes[1:3]
        fits = (sides % stride == 0) & (sides > 0) & (sides <= (largest or 2**31 - 1))
        is_batch = is_batch & tf.reduce_all(fits)
    expected = f"{name}: expected {expected}, got the shape"
    # Plain assertions, which XLA removes, because it supports neither strings nor failures.
    checks = [
        tf.debugging.Assert(is_batch, [expected, sizes], _SHOWN),
        # Only one assertion may fail, because of two TensorFlow would report either.
        tf.debugging.Assert(
            (tf.size(real, tf.int64) > 0) | ~is_batch,
            [f"{expected} of an empty batch", sizes],
            _SHOWN,
        ),
    ]
    if most is not None:
        is_few = tf.reduce_all(sizes[:1] <= most) | ~is_batch
        few = [f"{expected} of more than {most}", sizes]
        checks.append(tf.debugging.Assert(is_few, few, _SHOWN))
    with tf.control_dependencies(checks):
        return tf.identity(x)
