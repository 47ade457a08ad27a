"""Batches for the replicas of a strategy: sharded by worker, mixed, and of full size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tensorflow as tf

from training.augment import MixingSettings, random_mixing

# A function of (number of shards, shard index) that returns that shard's batches of images and
# labels, or of a teacher's answers.
MakeDataset = Callable[[int, int], tf.data.Dataset]
# Distinguishes the draws for mixing from other draws of the same run.
_MIXING = 1


@tf.autograph.experimental.do_not_convert
def train_batches(
    make_dataset: MakeDataset,
    strategy: tf.distribute.Strategy,
    *,
    mixing: MixingSettings,
    classes: int,
    seed: int,
    first_step: int,
    period: int | None = None,
    answers: MakeDataset | None = None,
) -> Iterator:
    """Makes batches for a training step.

    Pictures are mixed with others of the same input pipeline, with one lambda for all of them. This
    is the whole batch with one process, and the worker's part of it with several.

    Args:
      make_dataset: returns (images, labels), the batch of each step or a shard's part of it.
      strategy: the distribution strategy.
      mixing: mixup, CutMix and label smoothing.
      classes: number of classes.
      seed: seed of the mixing.
      first_step: number of the step of the first batch.
      period: number of steps after which the mixing repeats; None to never repeat.
      answers: returns a teacher's logits for the mixed images; None without a teacher.

    Returns:
      An iterator of distributed (images, targets) or (images, targets, answers); the last two are
      (batch, classes) float32.
    """

    def mixed(step, batch):
        of_run = tf.constant([seed, _MIXING], tf.int64)
        step = step if period is None else step % period
        draw = tf.random.experimental.stateless_fold_in(of_run, step)
        return random_mixing(*batch, draw, mixing, classes=classes)

    def of_pipeline(context):
        dataset = make_dataset(context.num_input_pipelines, context.input_pipeline_id)
        dataset = dataset.enumerate(first_step).map(mixed, num_parallel_calls=tf.data.AUTOTUNE)
        if answers is not None:
            known = answers(context.num_input_pipelines, context.input_pipeline_id)
            dataset = tf.data.Dataset.zip(dataset, known).map(lambda both, known: (*both, known))
        return _per_replica(dataset, context)

    return iter(strategy.distribute_datasets_from_function(of_pipeline))


@tf.autograph.experimental.do_not_convert
def test_batches(
    make_dataset: MakeDataset,
    strategy: tf.distribute.Strategy,
    *,
    batch_size: int,
    images: int,
) -> Iterator:
    """Makes batches for an evaluation step: all of one size, and equally many for every worker.

    Args:
      make_dataset: returns (images, labels) of a shard.
      strategy: the distribution strategy.
      batch_size: batch size of a step, over all replicas.
      images: number of test pictures, over all shards.

    Returns:
      An iterator of distributed (images, labels). The last batches are filled up with black
      pictures of label -1.
    """

    def of_pipeline(context):
        pipelines = context.num_input_pipelines
        batch, steps = batch_size // pipelines, -(-images // batch_size)

        def filled(x, y):
            missing = batch - tf.shape(y)[0]
            x = tf.pad(x, [[0, missing], [0, 0], [0, 0], [0, 0]])
            y = tf.pad(y, [[0, missing]], constant_values=-1)
            return tf.ensure_shape(x, [batch, *x.shape[1:]]), tf.ensure_shape(y, [batch])

        dataset = make_dataset(pipelines, context.input_pipeline_id)
        empty = dataset.take(1).map(lambda x, y: (x[:0], y[:0])).repeat()
        dataset = dataset.concatenate(empty).take(steps).map(filled)
        return _per_replica(dataset, context)

    return iter(strategy.distribute_datasets_from_function(of_pipeline))


def _per_replica(dataset: tf.data.Dataset, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Splits each batch into one batch for each replica of this input pipeline."""
    replicas = context.num_replicas_in_sync // context.num_input_pipelines
    if replicas > 1:

        def cut(*batch):
            return tuple(tf.stack(tf.split(part, replicas)) for part in batch)

        dataset = dataset.map(cut).unbatch()
    return dataset.prefetch(2 * replicas)
