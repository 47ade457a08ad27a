"""The batches of a training for joints, and how fast it learns from each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from levit_tf.keypoints.decoding import DecodeHeatmap, DecodeSimCC
from levit_tf.keypoints.skeletons import Skeleton
from training.keypoints.augment import Ranges, moved
from training.keypoints.config import KeypointConfig
from training.keypoints.losses import AxisLoss, HeatmapLoss
from training.keypoints.people import Crops

# Gradients are scaled down to this norm, all of them together.
CLIP_NORM = 5.0


def losses_of(decoder: DecodeSimCC | DecodeHeatmap) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each of a network's logits, by name."""
    size = decoder.input_size
    if isinstance(decoder, DecodeSimCC):
        return {axis: AxisLoss(n, size[1 - n], decoder.sigma) for n, axis in enumerate(("x", "y"))}
    return {"heatmap": HeatmapLoss(size, decoder.grid, decoder.sigma)}


def steps_of(config: KeypointConfig, crops: Crops) -> int:
    """Steps of an epoch."""
    return max(1, len(crops.pixels) // config.batch_size)


def batches(
    config: KeypointConfig,
    crops: Crops,
    skeleton: Skeleton,
    size: tuple[int, int],
    outputs: Sequence[str],
    first: int,
) -> tf.data.Dataset:
    """Augmented people from step `first` on, in a new order every epoch.

    Order and draws are functions of the seed and the number of the step, so that a run that was
    stopped goes on as if nothing had happened.

    Args:
      config: of the run.
      crops: people.
      skeleton: their joints.
      size: (height, width) of the network's input.
      outputs: names of the network's logits.
      first: step to begin with.

    Returns:
      Normalised images, and the joints in their pixels once for each output.
    """
    ranges = Ranges(
        rotation=config.rotation,
        scale=(1 - config.scale_change, 1 + config.scale_change),
        shift=config.shift,
        flip=config.flip,
    )
    count = len(crops.pixels)
    pixels, joints = crops.pixels, tf.constant(crops.joints)

    def take(indices):
        return pixels[indices]

    size_of_batch = min(config.batch_size, count)
    steps = count // size_of_batch

    def batch(step):
        epoch, place = step // steps, step % steps * size_of_batch
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64),
            seed=tf.stack([tf.constant(config.seed, tf.int64), epoch]),
        )
        indices = order[place : place + size_of_batch]
        seed = tf.cast(tf.stack([tf.constant(config.seed, tf.int64), step]), tf.int32)
        chosen = tf.numpy_function(take, [indices], tf.uint8, stateful=False)
        chosen = tf.ensure_shape(chosen, [None, *pixels.shape[1:]])
        images, found = moved(chosen, tf.gather(joints, indices), size, skeleton, ranges, seed)
        return images, dict.fromkeys(outputs, found)

    numbers = tf.data.Dataset.range(first, config.epochs * steps)
    return numbers.map(batch, num_parallel_calls=2).prefetch(2)


@keras.saving.register_keras_serializable(package="levit_tf.training")
class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """Linear growth over the first epoch, then a cosine to a hundredth."""

    def __init__(self, highest: float, warmup: int, steps: int):
        self.highest, self.warmup, self.steps = highest, warmup, steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        share = tf.clip_by_value((step - self.warmup) / max(1, self.steps - self.warmup), 0, 1)
        cosine = 0.01 + 0.99 * 0.5 * (1 + tf.cos(math.pi * share))
        return self.highest * tf.minimum((step + 1) / self.warmup, cosine)

    def get_config(self):
        return {"highest": self.highest, "warmup": self.warmup, "steps": self.steps}
