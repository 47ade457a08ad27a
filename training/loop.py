"""The training loop: `tf.GradientTape` under `strategy.run`, on the Keras model."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from training.losses import two_head_loss

History = dict[str, list[float]]


class NonFiniteLossError(ValueError):
    """The loss of a step is infinite or not a number; the message names the step."""


def synchronize_batch_norm(model: keras.Model) -> None:
    """Makes every BatchNorm take its statistics over all replicas together.

    Otherwise each replica normalises by its own part of the batch, and the moving statistics of the
    replicas drift apart.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    strategy: tf.distribute.Strategy,
    *,
    batch_size: int,
    label_smoothing: float,
) -> Callable:
    """Compiles one step.

    Args:
      model: a LeViT with heads="both", built in the scope of `strategy`.
      optimizer: built for the model's trainable variables.
      strategy: the replicas.
      batch_size: pictures in a step, over all replicas.
      label_smoothing: see `training.losses.cross_entropy`.

    Returns:
      A function (images, labels) -> mean loss over the batch, of what a distributed dataset yields.
    """

    def replica_step(images, labels):
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            # Over the whole batch, not this replica's part: gradients are summed over replicas.
            losses = two_head_loss(labels, outputs, label_smoothing)
            loss = tf.reduce_sum(losses) / batch_size
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    @tf.function(jit_compile=False)
    def train_step(images, labels):
        losses = strategy.run(replica_step, args=(images, labels))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    return train_step


def fit(
    train_step: Callable,
    dataset: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    *,
    epochs: int,
    steps_per_epoch: int,
    batch_size: int,
    evaluate: Callable[[], float],
    learning_rate: Callable[[], float],
) -> History:
    """Runs the epochs, with a progress bar for each.

    Args:
      train_step: a result of `make_train_step`.
      dataset: (images, labels), `epochs * steps_per_epoch` batches.
      strategy: the replicas.
      epochs: how many.
      steps_per_epoch: steps in each.
      batch_size: pictures in a step, over all replicas.
      evaluate: called after each epoch; top-1 on held-out pictures, 0..1.
      learning_rate: the rate of the step that comes next.

    Returns:
      One value an epoch: "loss" (mean over its steps), "top1", "learning_rate",
      "images_per_second".

    Raises:
      NonFiniteLossError: a loss is infinite or not a number.
    """
    history: History = {"loss": [], "top1": [], "learning_rate": [], "images_per_second": []}
    batches = iter(strategy.experimental_distribute_dataset(dataset))
    for epoch in range(epochs):
        rate = learning_rate()
        print(f"epoch {epoch + 1}/{epochs}, learning rate {rate:.2e}")
        bar = keras.utils.Progbar(
            steps_per_epoch,
            verbose=1 if sys.stdout.isatty() else 2,
            stateful_metrics=["loss", "images/s", "top-1 %"],
        )
        start, total = time.perf_counter(), 0.0
        for step in range(1, steps_per_epoch + 1):
            loss = float(train_step(*next(batches)))
            if not math.isfinite(loss):
                raise NonFiniteLossError(
                    f"The loss of step {epoch * steps_per_epoch + step} (epoch {epoch + 1}) is "
                    f"{loss}. A lower learning_rate or more warmup_epochs may help."
                )
            total += loss
            speed = step * batch_size / (time.perf_counter() - start)
            values = [("loss", total / step), ("images/s", speed)]
            if step < steps_per_epoch:
                bar.update(step, values, finalize=False)
        top1 = evaluate()
        bar.update(steps_per_epoch, [*values, ("top-1 %", 100 * top1)], finalize=True)
        for name, value in zip(history, (total / steps_per_epoch, top1, rate, speed), strict=True):
            history[name].append(value)
    return history
