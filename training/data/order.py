"""Which pictures a step sees, computed from the number of the step.

Source of repeated augmentation: `RASampler` in samplers.py of facebookresearch/LeViT.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Draw(NamedTuple):
    """The examples of a step.

    Attributes:
      epoch: int64 scalar.
      indices: (n,) int64, of the pictures.
      copies: (n,) int64, numbers that differ between the copies of a picture in one epoch, for
        `training.augment.example_seed`.
    """

    epoch: tf.Tensor
    indices: tf.Tensor
    copies: tf.Tensor


def steps_per_epoch(pictures: int, global_batch: int, fill: bool = False) -> int:
    """Batches in an epoch over `pictures` pictures, all of them full.

    Args:
      pictures: how many.
      global_batch: pictures in a step, over all shards.
      fill: whether the last batch is filled up with pictures that the epoch has had; else what does
        not fill one is left out of that epoch.

    Raises:
      ValueError: there is none.
    """
    if global_batch < 1 or pictures < global_batch:
        raise ValueError(
            "batch_size must be at least 1 and must not exceed the number of training pictures, "
            f"{pictures}. Received: {global_batch}"
        )
    return -(-pictures // global_batch) if fill else pictures // global_batch


def shard_positions(global_batch: int, num_shards: int, shard: int) -> np.ndarray:
    """The part of a batch that one of several workers computes.

    Neighbours go to different shards, which is how the official sampler spreads the copies of
    repeated augmentation. Beyond that, position p comes with its mirror image, the one p places
    from the end, in such an order that a shard reversed pairs the pictures as the whole batch
    reversed does: mixup and CutMix of each shard with itself then give what they give without
    shards. For this a shard has to hold an even number of pictures; if not, the pairs depend on
    the number of shards.

    Args:
      global_batch: pictures in a step, over all shards.
      num_shards: how many share it.
      shard: which of them.

    Returns:
      (global_batch // num_shards,) int64, positions in the batch.

    Raises:
      ValueError: the batch cannot be shared evenly, or there is no such shard.
    """
    if not 0 <= shard < num_shards:
        raise ValueError(f"shard must lie in 0..{num_shards - 1}. Received: {shard}")
    if global_batch % num_shards:
        raise ValueError(
            f"batch_size must be a multiple of the number of workers, {num_shards}. Received: "
            f"{global_batch}"
        )
    if global_batch % (2 * num_shards):
        return np.arange(shard, global_batch, num_shards)
    front = np.arange(shard, global_batch // 2, num_shards)
    return np.concatenate([front, global_batch - 1 - front[::-1]])


def draw_step(
    step: tf.Tensor,
    positions: np.ndarray,
    *,
    pictures: int,
    global_batch: int,
    seed: int,
    repeats: int = 1,
    fill: bool = False,
) -> Draw:
    """The examples of one step, of one shard.

    An epoch's list is a permutation of all pictures, each of them `repeats` times in a row. The
    epoch ends after as many examples as there are pictures, rounded down to full batches: with
    repeats it shows about a part in `repeats` of the pictures.

    Args:
      step: int64 scalar, counted from the beginning of the run.
      positions: (n,), see `shard_positions`.
      pictures: number of pictures.
      global_batch: pictures in a step, over all shards.
      seed: of the order.
      repeats: copies of each picture.
      fill: see `steps_per_epoch`.
    """
    steps = steps_per_epoch(pictures, global_batch, fill)
    epoch = step // steps
    places = step % steps * global_batch + tf.constant(positions, tf.int64)  # (n,)
    seed_of_epoch = tf.stack([tf.constant(seed, tf.int64), epoch])
    # Only what fills the last batch lies behind the end, where the list begins again.
    indices = tf.random.experimental.index_shuffle(
        places // repeats % pictures,
        seed=seed_of_epoch,
        max_index=tf.constant(pictures - 1, tf.int64),
    )
    again = places // (repeats * pictures)  # 1 for what fills the last batch, else 0
    copies = indices * repeats + places % repeats + again * repeats * pictures
    return Draw(epoch, indices, copies)
