"""Computes the pictures of a step from its number.

Source of repeated augmentation: `RASampler` in samplers.py of facebookresearch/LeViT.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Draw(NamedTuple):
    """The examples of one step.

    Attributes:
      epoch: index of the epoch, an int64 scalar.
      indices: (n,) int64, indices of the pictures.
      copies: (n,) int64, numbers for `training.augment.example_seed` that differ between the copies
        of a picture in one epoch.
    """

    epoch: tf.Tensor
    indices: tf.Tensor
    copies: tf.Tensor


def steps_per_epoch(pictures: int, global_batch: int, fill: bool = False) -> int:
    """Number of batches in an epoch over `pictures` pictures, all of them full.

    Args:
      pictures: number of pictures.
      global_batch: pictures per step, over all shards.
      fill: whether the last batch is filled up with pictures already used in this epoch; otherwise
        an incomplete last batch is dropped.

    Raises:
      ValueError: there would be no batch.
    """
    if global_batch < 1 or pictures < global_batch:
        raise ValueError(
            "batch_size must be at least 1 and must not exceed the number of training pictures, "
            f"{pictures}. Received: {global_batch}"
        )
    return -(-pictures // global_batch) if fill else pictures // global_batch


def shard_positions(global_batch: int, num_shards: int, shard: int) -> np.ndarray:
    """Returns the positions in a batch that one of several workers computes.

    Neighbours go to different shards; the official sampler spreads the copies of repeated
    augmentation in this way. In addition, position p goes to the same shard as its mirror image,
    the one p places from the end, in such an order that reversing a shard pairs the same pictures
    as reversing the whole batch. Then mixup and CutMix within each shard give the same result as
    without shards. This needs an even number of pictures per shard; otherwise, the pairs depend on
    the number of shards.

    Args:
      global_batch: pictures per step, over all shards.
      num_shards: number of shards.
      shard: index of this shard.

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
    """Draws the examples of one step for one shard.

    An epoch's list is a permutation of all pictures, each repeated `repeats` times in a row. The
    epoch ends after as many examples as there are pictures, rounded down to full batches. So with
    repeats, an epoch shows about 1 / `repeats` of the pictures.

    Args:
      step: int64 scalar, counted from the beginning of the run.
      positions: (n,), positions in the batch, see `shard_positions`.
      pictures: number of pictures.
      global_batch: pictures per step, over all shards.
      seed: seed of the order.
      repeats: number of copies of each picture.
      fill: see `steps_per_epoch`.
    """
    steps = steps_per_epoch(pictures, global_batch, fill)
    epoch = step // steps
    places = step % steps * global_batch + tf.constant(positions, tf.int64)  # (n,)
    seed_of_epoch = tf.stack([tf.constant(seed, tf.int64), epoch])
    # Only examples that fill up the last batch lie beyond the end, where the list starts again.
    indices = tf.random.experimental.index_shuffle(
        places // repeats % pictures,
        seed=seed_of_epoch,
        max_index=tf.constant(pictures - 1, tf.int64),
    )
    again = places // (repeats * pictures)  # 1 for examples that fill up the last batch, else 0
    copies = indices * repeats + places % repeats + again * repeats * pictures
    return Draw(epoch, indices, copies)
