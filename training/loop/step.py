"""One training step, compiled: forward, loss, gradients, optimizer, average."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from training.loop.draws import DropPathDraws
from training.optim.ema import Ema
from training.optim.losses import Distillation
from training.optim.optimizer import AdamW

Teacher = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """Options of a training step.

    Attributes:
      batch_size: pictures per step, over all replicas.
      accumulate: number of parts into which each replica's batch is split; they pass through the
        network one after the other, to save memory. The gradient is that of the whole batch; only
        BatchNorm sees the parts.
      freeze_batch_norm: whether the network runs in inference mode: BatchNorm uses moving
        statistics and drop_path is off. All weights are trained nevertheless.
      jit_compile: whether XLA compiles the step.
      seed: seed of drop_path.
    """

    batch_size: int
    accumulate: int = 1
    freeze_batch_norm: bool = False
    jit_compile: bool = False
    seed: int = 0


def make_train_step(
    model: keras.Model,
    optimizer: AdamW,
    strategy: tf.distribute.Strategy,
    options: StepOptions,
    *,
    loss: Distillation,
    teacher: Teacher | None = None,
    ema: Ema | None = None,
) -> Callable[..., tf.Tensor]:
    """Builds a compiled training step.

    Args:
      model: a LeViT that returns logits, of both heads if there is a teacher, built in the scope of
        `strategy`.
      optimizer: built for the model's trainable variables.
      strategy: the distribution strategy.
      options: options of the step.
      loss: loss from labels and teacher.
      teacher: function from normalised images to logits.
      ema: moving average, updated after the optimizer.

    Returns:
      A function of (images, targets, stop), or of (images, targets, answers, stop) with precomputed
      logits of a teacher. The tensors come from a distributed dataset; `stop` is a number that is
      not 0 to request a stop. It returns (2,) float32: the mean loss over the batch, and the sum of
      `stop` over all replicas, so that all workers stop after the same step.
    """
    draws = DropPathDraws(model, options.seed)
    variables = model.trainable_variables
    loss_scale = optimizer.loss_scale

    def part_of_step(part, images, targets, taught=None):
        draws.set(optimizer.iterations, part)
        if teacher is not None:
            taught = teacher(images)
        with tf.GradientTape() as tape:
            outputs = model(images, training=not options.freeze_batch_norm)
            # Divided by the whole batch size, since the gradients are summed over all parts.
            mean_loss = tf.reduce_sum(loss(targets, outputs, taught)) / options.batch_size
            scaled = mean_loss if loss_scale is None else loss_scale.scale_up(mean_loss)
        return mean_loss, tape.gradient(scaled, variables)

    def replica_step(*inputs):
        *batch, stop = inputs
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        total, gradients, count = 0.0, None, options.accumulate
        parts = zip(*(tf.split(tensor, count) for tensor in batch), strict=True)
        for number, part in enumerate(parts):
            part_loss, of_part = part_of_step(replica * count + number, *part)
            total += part_loss
            pairs = zip(gradients or of_part, of_part, strict=True)
            gradients = [a + b for a, b in pairs] if gradients else of_part
        finite = True
        if loss_scale is not None:
            gradients, finite = loss_scale.scale_down(gradients)
        optimizer.apply(gradients, finite)
        if loss_scale is not None:
            loss_scale.update(finite)
        if ema is not None:
            ema.update(tf.identity(optimizer.iterations))
        return tf.stack([total, stop])

    @tf.function(jit_compile=options.jit_compile, autograph=False)
    def train_step(*inputs):
        found = strategy.run(replica_step, args=inputs)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, found, axis=None)

    return train_step
