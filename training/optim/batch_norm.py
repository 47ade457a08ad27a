"""BatchNorm as in PyTorch's training, with statistics over all replicas together."""

from __future__ import annotations

import keras
import tensorflow as tf


class TrainingBatchNorm(keras.layers.BatchNormalization):
    """BatchNorm that tracks the unbiased variance as its moving variance.

    Both frameworks normalise a batch by its biased variance, sum / n. But PyTorch's running
    variance follows sum / (n - 1), and that of Keras sum / n. In the heads n is the batch size, so
    this makes a difference of 0.8 % for 128 pictures.

    In inference mode there is no difference, so saved networks use Keras' own layer.
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):  # as in Keras, frozen layers keep their statistics
            return super().call(inputs, training=training, mask=mask)
        normalise = self._together if self.synchronized else self._alone
        outputs, mean, unbiased = normalise(inputs)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, unbiased)
        return outputs

    def _alone(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns normalised inputs, their mean and unbiased variance, by one TensorFlow op."""
        channels = x.shape[-1]
        # (batch, ..., channels) -> (batch * ..., 1, 1, channels)
        flat = tf.reshape(x, (-1, 1, 1, channels))
        unused = tf.zeros([0])
        outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=flat,
            scale=self.gamma,
            offset=self.beta,
            mean=unused,
            variance=unused,
            epsilon=self.epsilon,
            is_training=True,
        )
        return tf.reshape(outputs, tf.shape(x)), mean, unbiased  # back to (batch, ..., channels)

    def _together(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Does the same with the statistics of all replicas."""
        x = tf.cast(inputs, tf.float32)  # (batch, ..., channels)
        axes = list(range(len(x.shape) - 1))
        mean = _over_replicas(tf.reduce_mean(x, axes))
        # Computed around the mean in a second pass. Keras' synchronized E[x^2] - E[x]^2 suffers
        # from cancellation: for nearly equal pictures, its gradients are wrong by 1e-4.
        deviation = tf.math.squared_difference(x, tf.stop_gradient(mean))
        variance = _over_replicas(tf.reduce_mean(deviation, axes))
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        count *= tf.distribute.get_replica_context().num_replicas_in_sync
        unbiased = variance * (count / tf.maximum(count - 1, 1))
        x = tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.epsilon)
        return tf.cast(x, inputs.dtype), mean, unbiased

    def _move(self, statistic: keras.Variable, value: tf.Tensor) -> None:
        statistic.assign(statistic * self.momentum + value * (1 - self.momentum))


def _over_replicas(statistic: tf.Tensor) -> tf.Tensor:
    """Returns the mean over the replicas, whose parts of the batch have the same size."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, statistic)


def prepare_batch_norm(model: keras.Model, replicas: int, momentum: float = 0.9) -> None:
    """Turns every BatchNorm of a model into a `TrainingBatchNorm`, in place.

    With several replicas, statistics are computed over all of them. Otherwise each replica would
    normalise by its own part of the batch, and the moving statistics of the replicas would drift
    apart.

    Args:
      model: a LeViT in train form, to be trained but not saved as a model.
      replicas: number of replicas.
      momentum: share of the moving statistics that a step keeps.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.__class__ = TrainingBatchNorm
            layer.synchronized = replicas > 1
            layer.momentum = momentum
