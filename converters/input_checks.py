"""What a graph that is served refuses before any kernel sees it: tensors of another shape.

The shape that a SavedModel declares is a description. Neither TensorFlow Serving's session nor the
functions of `tf.saved_model.load` compare with it, and some kernels do not look either: a picture
without its batch axis ends the process in a convolution, and other sizes are answered with whatever
comes out. So the graph looks by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def checked_batch(
    x: tf.Tensor, name: str, shape: Sequence[int], most: int | None = None
) -> tf.Tensor:
    """Passes a batch through, if it is one.

    Args:
      x: what a client sent, of whatever rank and size it really is.
      name: of the input, for the error.
      shape: of one element of the batch.
      most: elements of a batch; None: any number.

    Returns:
      `x`, (batch, *shape) with batch from 1 to `most`. The graph fails with InvalidArgumentError,
      which says what is expected and what came, where that is not so.
    """
    # Behind this operation the static shape is unknown. Else Python, when it builds the graph, and
    # the optimizer, when it is loaded, take the declared shape for the real one and fold the check.
    real = tf.raw_ops.PlaceholderWithDefault(input=x, shape=tf.TensorShape(None))
    sizes = tf.shape(real)
    # Sizes of unequal number are unequal, and no error.
    same = tf.raw_ops.Equal(
        x=sizes[1:], y=tf.constant(shape, tf.int32, [len(shape)]), incompatible_shape_error=False
    )
    is_filled = tf.size(real, tf.int64) > 0
    is_batch = tf.equal(tf.size(sizes), 1 + len(shape)) & tf.reduce_all(same)
    is_right = is_batch & is_filled
    if most is not None:
        is_right &= tf.reduce_all(sizes[:1] <= most)

    def refuse():
        found = tf.strings.reduce_join(tf.strings.as_string(sizes), separator=", ")
        ends = tf.where(tf.equal(tf.size(sizes), 1), ",)", ")")
        why = tf.where(is_filled, f": at most {most} at a time", ": the batch is empty")
        why = tf.where(is_batch, why, "")
        expected = ", ".join(["(batch", *map(str, shape)]) + ("" if shape else ",") + ")"
        message = tf.strings.join([f"{name}: expected {expected}, got (", found, ends, why])
        return tf.debugging.Assert(False, [message])

    check = tf.cond(is_right, tf.no_op, refuse)
    with tf.control_dependencies([check]):
        return tf.identity(x)
