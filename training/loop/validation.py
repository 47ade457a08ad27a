"""Computes top-1 on held-out pictures during training, over all replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from levit_tf.keras_graph.endings import have_exits, mean_of_heads


def make_validator(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    batches: Callable[[], Iterator],
) -> Callable[[], float]:
    """Makes a function that returns the top-1 of a model with its present weights, 0..1.

    Args:
      model: a LeViT that returns logits. The logits of two heads are averaged. For a network with
        exits, the result is the mean over the top-1 of each exit and of the whole network.
      strategy: the distribution strategy.
      batches: returns an iterator of distributed (images, labels); label -1 means not to count.
    """

    def count(images, labels):
        outputs = model(images, training=False)
        answers = list(outputs.values()) if have_exits(outputs) else [mean_of_heads(outputs)]
        found = [tf.argmax(logits, axis=1, output_type=labels.dtype) for logits in answers]
        right, real = tf.equal(tf.stack(found), labels), labels >= 0
        pictures = tf.math.count_nonzero(real, dtype=tf.int32) * len(answers)
        return tf.stack([tf.math.count_nonzero(right, dtype=tf.int32), pictures])

    @tf.function(autograph=False)
    def counts_of(images, labels):
        counts = strategy.run(count, args=(images, labels))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, counts, axis=None)

    def validate() -> float:
        right, real = sum(counts_of(*batch).numpy() for batch in batches())
        return float(right / real)

    return validate
