"""Training pictures as a tf.data pipeline that is a pure function of (seed, epoch, index).

Nothing about the order or the augmentation is kept in the state of an iterator: a run that goes on
at step n builds the pipeline from there and sees what it would have seen.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from levit_tf import digits
from levit_tf.preprocessing import preprocess_input


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes:
      train: images (n, height, width, 3) uint8 RGB 0..255, and labels (n,) int32.
      test: the same, held out.
      class_names: in the order of the labels.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    class_names: tuple[str, ...]


def load_data(name: str) -> ImageData:
    """Loads a data set by its name in `training.config.DATASETS`."""
    loaders = {"digits": lambda: ImageData(*digits.load_data(), digits.CLASS_NAMES)}
    return loaders[name]()


def train_dataset(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    batch_size: int,
    steps: int,
    seed: int,
    crop_padding: int = 0,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Batches of shuffled, augmented and normalised pictures.

    Every epoch is a permutation of its own. What does not fill a last batch is left out of that
    epoch, so that all steps have the same weight (as main.py does, `drop_last=True`).

    Args:
      images: (n, height, width, 3) uint8 RGB 0..255.
      labels: (n,) int32.
      batch_size: pictures in a batch, at most n.
      steps: number of the step to stop before, counted from the beginning of the run.
      seed: of order and augmentation.
      crop_padding: see `training.config.Config`.
      first_step: number of the step to begin with.

    Returns:
      A dataset of (normalised images, float32; labels, int32), `steps - first_step` batches.

    Raises:
      ValueError: there are fewer pictures than fill one batch.
    """
    in_epoch = steps_per_epoch(len(images), batch_size) * batch_size
    images, labels = tf.constant(images), tf.constant(labels)

    def example(position):
        epoch, place = position // in_epoch, position % in_epoch
        of_epoch = tf.stack([seed, epoch])
        index = tf.random.experimental.index_shuffle(
            place, seed=of_epoch, max_index=len(images) - 1
        )
        draw = tf.random.experimental.stateless_fold_in(of_epoch, index)
        return random_crop(images[index], crop_padding, draw), labels[index]

    positions = tf.data.Dataset.range(first_step * batch_size, steps * batch_size)
    return (
        positions.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .map(lambda x, y: (preprocess_input(x, data_format="channels_last"), y))
        .prefetch(tf.data.AUTOTUNE)
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Full batches in a pass over `images` pictures.

    Raises:
      ValueError: there is none.
    """
    if images < batch_size:
        raise ValueError(
            f"batch_size must not exceed the number of training pictures, {images}. Received: "
            f"{batch_size}"
        )
    return images // batch_size


def random_crop(image: tf.Tensor, padding: int, seed: tf.Tensor) -> tf.Tensor:
    """A random crop of the original size out of the image with a black border.

    Args:
      image: (height, width, channels).
      padding: pixels of border on each side.
      seed: of shape (2,); the same seed crops in the same place.

    Returns:
      Of the shape and type of `image`.
    """
    if not padding:
        return image
    border = [[padding, padding], [padding, padding], [0, 0]]
    corner = tf.random.stateless_uniform([2], seed, 0, 2 * padding + 1, tf.int32)
    return tf.slice(tf.pad(image, border), tf.concat([corner, [0]], 0), image.shape)
