"""Writes event files for TensorBoard, whose package TensorFlow no longer includes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from converters.saved_model.writing import writing

_SCALAR, _BLOBS = 1, 3  # DataClass of tensorflow/core/framework/summary.proto


class TensorBoard:
    """The event files of a run.

    Args:
      folder: the folder to write to.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        with writing(self._folder):
            self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Writes the figures of a step."""
        with writing(self._folder), self._writer.as_default():
            for name, value in values.items():
                value = tf.constant(value, tf.float32)
                tf.summary.write(name, value, step, _metadata("scalars", _SCALAR))
            self._writer.flush()

    def images(self, name: str, images: tf.Tensor, step: int) -> None:
        """Writes pictures of a step, (n, height, width, 3) uint8."""
        size = [str(side).encode() for side in (images.shape[2], images.shape[1])]
        pictures = [tf.io.encode_png(image) for image in images]
        content = tf.stack([*map(tf.constant, size), *pictures])
        with writing(self._folder), self._writer.as_default():
            tf.summary.write(name, content, step, _metadata("images", _BLOBS))
            self._writer.flush()


def _metadata(plugin: str, data_class: int) -> tf.compat.v1.SummaryMetadata:
    metadata = tf.compat.v1.SummaryMetadata(data_class=data_class)
    metadata.plugin_data.plugin_name = plugin
    return metadata
