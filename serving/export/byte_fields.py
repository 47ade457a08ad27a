"""Reads integers from the bytes of a file in a TensorFlow graph."""

from __future__ import annotations

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class ByteFields:
    """Reads fields of a file; bytes beyond its end are read as 0.

    Attributes:
      content: (n,) uint8, the bytes of the file.
      end: position from which on bytes are read as 0; an int64 scalar.
      little: whether integers are little-endian; a bool, or a scalar tensor.
    """

    content: tf.Tensor
    end: tf.Tensor
    little: tf.Tensor | bool = False

    @classmethod
    def of(cls, content: tf.Tensor, little: tf.Tensor | bool = False) -> ByteFields:
        """Makes the fields of a file from its content, a scalar string."""
        values = tf.io.decode_raw(content, tf.uint8)
        return cls(values, tf.size(values, tf.int64), little)

    def bytes(self, position: tf.Tensor | int, count: int) -> tf.Tensor:
        """Returns bytes as (count,) int64, or as (n, count) for n positions (n, 1)."""
        positions = position + tf.range(count, dtype=tf.int64)
        inside = (positions >= 0) & (positions < self.end)
        padded = tf.pad(self.content, [[0, 1]])
        last = tf.size(self.content, tf.int64)
        values = tf.gather(padded, tf.where(inside, positions, last))
        return tf.cast(values, tf.int64)

    def byte(self, position: tf.Tensor | int) -> tf.Tensor:
        return self.bytes(position, 1)[..., 0]

    def integer(self, position: tf.Tensor | int, count: int) -> tf.Tensor:
        """Returns the unsigned integer of `count` bytes at `position`, int64."""
        powers = [256**n for n in range(count)]
        if isinstance(self.little, bool):
            powers = tf.constant(powers if self.little else powers[::-1], tf.int64)
        else:
            powers = tf.where(
                self.little, tf.constant(powers, tf.int64), tf.constant(powers[::-1], tf.int64)
            )
        return tf.reduce_sum(self.bytes(position, count) * powers, axis=-1)

    def has(self, position: tf.Tensor | int, expected: bytes) -> tf.Tensor:
        """Whether the bytes at `position` are `expected`."""
        found = self.bytes(position, len(expected))
        return tf.reduce_all(found == tf.constant(list(expected), tf.int64), axis=-1)
