"""What a part of a data set has to offer: its pictures by index, encoded or as pixels."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
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


class FileEntry(NamedTuple):
    """One picture in a list of files.

    Attributes:
      name: its path.
      label: of its class.
      size: of the file, bytes; -1 where it is gone.
    """

    name: str
    label: int
    size: int


@dataclasses.dataclass(frozen=True)
class Details:
    """What a source knows about a data set, for people.

    Attributes:
      class_counts: pictures of each class, in all that was looked at; None where nobody counted.
      held_out_from: where the held-out part is from.
      others: what lies beside the pictures and was not looked at.
    """

    class_counts: Sequence[int] | None = None
    held_out_from: str = ""
    others: Sequence[str] = ()


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

    def entries(self) -> list[FileEntry] | None:
        """The list of files, in the order of the indices; None where pictures are no files."""
        return None

    def fingerprint(self) -> str:
        """A checksum that changes with the pictures, their order or their labels.

        Of files it is made of names, labels and sizes, since reading them all takes long.
        """
        return fingerprint_of(self.entries())


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

    def fingerprint(self) -> str:
        return checksum([self._images.numpy().tobytes(), self._labels.numpy().tobytes()])


def checksum(parts: Iterable[bytes]) -> str:
    """SHA-256 of all parts, each with its length, as hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()


def fingerprint_of(entries: Iterable[FileEntry]) -> str:
    """The fingerprint of a list of files."""
    return checksum(repr(tuple(entry)).encode("utf-8", "surrogateescape") for entry in entries)
