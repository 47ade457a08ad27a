"""The interface of a data set's part: its pictures by index, encoded or as pixels."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow as tf


class Fetched(NamedTuple):
    """A batch of pictures as a source returns them.

    Attributes:
      contents: uint8 pixels (n, height, width, 3); or strings (n,), which `Source.read` turns into
        encoded pictures.
      labels: (n,) int32; or (n, classes) int32, with 1 for each class that is a correct answer for
        the picture.
      plain: (n,) bool, whether `tf.io` decodes the picture as Pillow does. If not, Pillow decodes
        it.
    """

    contents: tf.Tensor
    labels: tf.Tensor
    plain: tf.Tensor


class Example(NamedTuple):
    """One picture outside of a graph, for decoding with Pillow: see `Source.example`."""

    name: str
    contents: bytes | str
    label: int | np.ndarray


class FileEntry(NamedTuple):
    """One picture in a list of files.

    Attributes:
      name: path of the file.
      label: label of its class.
      size: size of the file in bytes; -1 if it no longer exists.
    """

    name: str
    label: int
    size: int


@dataclasses.dataclass(frozen=True)
class Details:
    """Facts about a data set, for messages.

    Attributes:
      class_counts: number of pictures of each class, over all parts that were read; None if
        unknown.
      held_out_from: where the held-out part comes from.
      others: other files and folders beside the pictures, which were ignored.
    """

    class_counts: Sequence[int] | None = None
    held_out_from: str = ""
    others: Sequence[str] = ()


class Source(abc.ABC):
    """Labelled pictures with random access.

    Attributes:
      has_pixels: whether the source holds decoded pictures.
      label_shape: () for one label per picture, (classes,) for sets of labels.
    """

    has_pixels: ClassVar[bool] = False
    label_shape: tuple[int, ...] = ()

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of pictures."""

    @abc.abstractmethod
    def fetch(self, indices: tf.Tensor) -> Fetched:
        """Looks up pictures, in a graph.

        Args:
          indices: (n,) int64.
        """

    def read(self, contents: tf.Tensor) -> tf.Tensor:
        """Maps one of `Fetched.contents` to the bytes of the picture's file, in a graph."""
        return contents

    def example(self, index: int) -> Example:
        """Returns the name, path or bytes, and label of a picture, for decoding with Pillow."""
        raise NotImplementedError(f"{type(self).__name__} has pixels: nothing is left to decode.")

    def entries(self) -> list[FileEntry] | None:
        """Returns the list of files in the order of the indices; None if pictures are not files."""
        return None

    def number_in(self, other: Source) -> int:
        """Returns how many of the pictures are in another part of the same data set, too."""
        del other
        return 0

    def fingerprint(self) -> str:
        """Returns a checksum that changes with the pictures, their order or their labels.

        For files it covers names, labels and sizes only, since reading their contents takes long.
        """
        return fingerprint_of(self.entries())


class PixelSource(Source):
    """Decoded pictures in memory.

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

    def fingerprint(self) -> str:
        return checksum([self._images.numpy().tobytes(), self._labels.numpy().tobytes()])


def file_size(path: str) -> int:
    """Returns the size of a file in bytes; -1 if it no longer exists."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def checksum(parts: Iterable[bytes]) -> str:
    """Returns the SHA-256 over all parts and their lengths, as hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()


def fingerprint_of(entries: Iterable[FileEntry]) -> str:
    """Returns the fingerprint of a list of files."""
    return checksum(repr(tuple(entry)).encode("utf-8", "surrogateescape") for entry in entries)
