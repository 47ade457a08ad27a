"""A contact sheet of augmented training pictures; `training.show_augmentation` is the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from levit_common.arrays import spread_indices
from levit_common.figures import make_figure, save_figure
from levit_tf.pictures import digits
from levit_tf.pictures.picture_folders import load_spread
from levit_tf.preprocessing import denormalize
from training.augment.pipeline import AugmentationSettings, augment_image, example_seed
from training.choices import EMBEDDED_PICTURES

PHOTOGRAPH_SIZE = (224, 224)


def load_pictures(source: str, count: int) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Reads pictures spread evenly over a source.

    Args:
      source: "digits", or a folder, which is searched with its subfolders.
      count: largest number of pictures.

    Returns:
      uint8 RGB arrays (height, width, 3), and the (height, width) to augment them to.

    Raises:
      ValueError: the folder has no readable picture.
    """
    if source == EMBEDDED_PICTURES:
        (images, _), _ = digits.load_data()
        return list(images[spread_indices(len(images), count)]), images.shape[1:3]
    return load_spread(source, count, None, "--images"), PHOTOGRAPH_SIZE


def augmented_sheet(
    pictures: list[np.ndarray], size: tuple[int, int], columns: int, seed: int
) -> list[list[np.ndarray]]:
    """Augments every picture several times.

    Args:
      pictures: uint8 RGB arrays (height, width, 3).
      size: (height, width) to augment to, pixels.
      columns: number of augmented versions of each picture.
      seed: seed of the run to show.

    Returns:
      One row per picture: the picture, then its augmented versions as uint8.
    """
    settings = AugmentationSettings(size=size)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([2], tf.int64)],
        autograph=False,
    )
    def augment(image, of_example):
        return augment_image(image, of_example, settings)

    def shown(index, epoch):
        normalized = augment(pictures[index], example_seed(seed, epoch, index)).numpy()
        pixels = denormalize(normalized)
        return np.round(pixels).clip(0, 255).astype(np.uint8)

    return [
        [picture, *(shown(index, epoch) for epoch in range(columns))]
        for index, picture in enumerate(pictures)
    ]


def save_grid(rows: list[list[np.ndarray]], path: Path) -> None:
    """Draws rows of pictures into a PNG file; an existing one is replaced.

    Args:
      rows: rows of equal length, of uint8 RGB arrays (height, width, 3) of any size.
      path: the file to write.

    Raises:
      ImportError: matplotlib is not installed.
    """
    figure = make_figure(1.6 * len(rows[0]), 1.6 * len(rows))
    for axes, image in zip(
        figure.subplots(len(rows), len(rows[0]), squeeze=False).flat,
        (image for row in rows for image in row),
        strict=True,
    ):
        axes.imshow(image)
        axes.set_axis_off()
    save_figure(figure, path)
