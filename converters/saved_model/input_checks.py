"""What a graph that is served refuses before any kernel sees it: tensors of another shape.

The shape that a SavedModel declares is a description. Neither TensorFlow Serving's session nor the
functions of `tf.saved_model.load` compare with it, and some kernels do not look either: a picture
without its batch axis ends the process in a convolution, and other sizes are answered with whatever
comes out. So the graph looks by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_SHOWN = 32  # sides of a wrong shape in an error


def checked_batch(
    x: tf.Tensor,
    name: str,
    shape: Sequence[int | None],
    most: int | None = None,
    stride: int = 1,
    largest: int | None = None,
) -> tf.Tensor:
    """Passes a batch through, if it is one.

    Args:
      x: what a client sent, of whatever rank and size it really is.
      name: of the input, for the error.
      shape: of one element of the batch; None for a side that is open.
      most: elements of a batch; None: any number.
      stride: of images whose sides are open these are multiples of it.
      largest: and no larger than this; None: of any size.

    Returns:
      `x`, (batch, *shape) with batch from 1 to `most`. The graph fails with InvalidArgumentError,
      which says what is expected and what came, where that is not so.
    """
    # Behind this operation the static shape is unknown. Else Python, when it builds the graph, and
    # the optimizer, when it is loaded, take the declared shape for the real one and fold the check.
    real = tf.raw_ops.PlaceholderWithDefault(input=x, shape=tf.TensorShape(None))
    sizes = tf.shape(real)
    # Sizes of unequal number are unequal, and no error.
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
    # Plain assertions of numbers, which XLA leaves out: it can neither make texts nor fail.
    checks = [
        tf.debugging.Assert(is_batch, [expected, sizes], _SHOWN),
        # One assertion fails and not two, of which TensorFlow would report either.
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
