"""`python -m tests.support.training.replicated_steps WEIGHTS.keras`: losses by 1 and by 2 replicas.

The two are logical CPUs under MirroredStrategy, their step compiled by XLA as one program, as it
is for a TPU. TensorFlow compiles neither collectives for CPUs nor access to a variable of another
device. So the replicas' sums are plain additions here, and both replicas keep their variables on
the first device; each has copies of its own nevertheless.
"""

from __future__ import annotations

import contextlib
import sys
import types

import numpy as np
import tensorflow as tf

import levit_tf
from tests.support.randomize import random_images
from training.loop.step import StepOptions, make_train_step
from training.optim.batch_norm import prepare_batch_norm
from training.optim.ema import Ema
from training.optim.losses import Distillation
from training.optim.optimizer import AdamW

STEPS, BATCH, CLASSES = 6, 16, 10


def losses(weights: str, strategy: tf.distribute.Strategy, *, jit_compile: bool) -> list[float]:
    """The losses of some steps from a file's weights."""
    with _variables_on_first_cpu(), strategy.scope():
        source = levit_tf.LeViT("LeViTTiny", classes=CLASSES, heads="both", weights=weights)
        average = levit_tf.LeViT("LeViTTiny", classes=CLASSES, heads="both", weights=weights)
        prepare_batch_norm(source, strategy.num_replicas_in_sync)
        step = make_train_step(
            source,
            AdamW(source.trainable_variables, 1e-3, weight_decay=0.025, clip_factor=0.01),
            strategy,
            StepOptions(BATCH, jit_compile=jit_compile),
            loss=Distillation("hard"),
            teacher=lambda images: tf.reduce_mean(images, axis=(1, 2)) @ tf.eye(3, CLASSES),
            ema=Ema(source, average, 0.9),
        )
    return [_loss(step, strategy, number) for number in range(STEPS)]


def _loss(step, strategy: tf.distribute.Strategy, number: int) -> float:
    images = random_images((32, 32), BATCH, seed=number)
    targets = np.eye(CLASSES, dtype=np.float32)[np.arange(BATCH) % CLASSES]
    share = BATCH // strategy.num_replicas_in_sync

    def of_replica(values):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                values[context.replica_id_in_sync_group * share :][:share], tf.float32
            )
        )

    stop = strategy.experimental_distribute_values_from_function(lambda _: tf.constant(0.0))
    return float(step(of_replica(images), of_replica(targets), stop)[0])


@contextlib.contextmanager
def _variables_on_first_cpu():
    def create(next_creator, **options):
        with tf.device("CPU:0"):
            return next_creator(**options)

    with tf.variable_creator_scope(create):
        yield


def _mirrored() -> tf.distribute.Strategy:
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    strategy.extended._replica_ctx_all_reduce = types.MethodType(
        tf.distribute.StrategyExtended._replica_ctx_all_reduce, strategy.extended
    )
    return strategy


def main() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    logical = tf.config.LogicalDeviceConfiguration
    tf.config.set_logical_device_configuration(cpu, [logical(), logical()])
    two = _mirrored()
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    for strategy, jit_compile in ((one, False), (two, False), (two, True)):
        print(*losses(sys.argv[1], strategy, jit_compile=jit_compile), flush=True)


if __name__ == "__main__":
    main()
