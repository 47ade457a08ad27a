"""What a part of a data set has to offer: its pictures by index, encoded or as pixels."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow as tf


class Fetched(NamedTuple):
    """Pictures as a source hands them out, one entry each.

    Attributes:
      contents: uint8 pixels (n, height, width, 3); or strings (n,), which `Source.read` turns into
        encoded pictures.
      labels: (n,) int32; or (n, classes) int32, 1 for each of the classes that a picture may be
        said to show.
      plain: (n,) bool, whether `tf.io` reads the picture as Pillow does. If not, Pillow does it.
    """

    contents: tf.Tensor
    labels: tf.Tensor
    plain: tf.Tensor


class Example(NamedTuple):
    """One picture outside of any graph, for the slow path: see `Source.example`."""

    name: str
    contents: bytes | str
    label: int | np.ndarray


class Source(abc.ABC):
    """Labelled pictures with random access.

    Attributes:
      has_pixels: whether it holds decoded pictures.
      label_shape: () for one label a picture, (classes,) for sets of labels.
    """

    has_pixels: ClassVar[bool] = False
    label_shape: tuple[int, ...] = ()

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of pictures."""

    @abc.abstractmethod
    def fetch(self, indices: tf.Tensor) -> Fetched:
        """Looks pictures up, in a graph.

        Args:
          indices: (n,) int64.
        """

    def read(self, contents: tf.Tensor) -> tf.Tensor:
        """One of `Fetched.contents` -> the bytes of a picture's file, in a graph."""
        return contents

    def example(self, index: int) -> Example:
        """The picture of an index for Pillow: its name, its path or bytes, and its label."""
        raise NotImplementedError(f"{type(self).__name__} has pixels: nothing is left to decode.")


class PixelSource(Source):
    """Pictures in memory.

    Args:
      images: (n, height, width, 3) uint8.
      labels: (n,) integers.
    """

    has_pixels = True

    def __init__(self, images: np.ndarray, labels: Sequence[int]):
        self._images = tf.constant(images, tf.uint8)
        self._labels = tf.constant(labels, tf.int32)

    def __len__(self) -> int:
        return len(self._images)

    def fetch(self, indices: tf.Tensor) -> Fetched:
        return Fetched(
            tf.gather(self._images, indices),
            tf.gather(self._labels, indices),
            tf.ones_like(indices, tf.bool),
        )
