"""Training in half precision: the Keras policies, and the loss scale that float16 needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

# Variables stay in float32; layers compute in the type that the policy names.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
INITIAL_SCALE = 2.0**16
GROWTH_STEPS = 2000


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Sets the precision, a key of `POLICIES`, for models built in the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[name])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class LossScale:
    """A factor on the loss that keeps small gradients above the smallest float16 number.

    The scale is halved when a gradient overflows on any replica, and all replicas skip that step;
    it is doubled after `GROWTH_STEPS` steps without overflow (the defaults of
    torch.amp.GradScaler). Keras' LossScaleOptimizer checks the gradients of each replica before
    they are summed, so replicas could disagree.

    Attributes:
      scale: the factor.
      steady_steps: number of steps since the last change.
      skipped: total number of skipped steps.
    """

    def __init__(self, initial_scale: float = INITIAL_SCALE):
        def variable(value, dtype, name):
            return keras.Variable(
                value, dtype=dtype, trainable=False, aggregation="only_first_replica", name=name
            )

        self.scale = variable(initial_scale, "float32", "loss_scale")
        self.steady_steps = variable(0, "int64", "steady_steps")
        self.skipped = variable(0, "int64", "skipped_steps")

    @property
    def variables(self) -> list[keras.Variable]:
        return [self.scale, self.steady_steps, self.skipped]

    @property
    def skipped_steps(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.skipped)

    def scale_up(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the scaled loss, to be differentiated."""
        return loss * tf.cast(self.scale, loss.dtype)

    def scale_down(self, gradients: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Removes the scale from gradients, in replica context.

        Returns:
          The gradients of the unscaled loss, and whether all of them are finite on all replicas, a
          bool scalar.
        """
        scale = tf.convert_to_tensor(self.scale)
        gradients = [gradient / tf.cast(scale, gradient.dtype) for gradient in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        context = tf.distribute.get_replica_context()
        bad = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.float32))
        return gradients, tf.equal(bad, 0)

    def update(self, finite: tf.Tensor) -> None:
        """Updates the scale after the optimizer's step, in replica context."""
        scale, steady = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.steady_steps)
        grows = finite & (steady + 1 >= GROWTH_STEPS)
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        self.scale.assign(scale * factor)
        self.steady_steps.assign(tf.where(finite & ~grows, steady + 1, 0))
        self.skipped.assign(self.skipped_steps + tf.cast(~finite, tf.int64))
