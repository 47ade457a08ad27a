"""Applies the EXIF orientation of a JPEG in TensorFlow operations, as its decoders ignore it.

Sources: the marker segments of JPEG (ITU-T T.81, annex B), the fields of TIFF 6.0, and the tag
Orientation of Exif 2.3.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from serving.export.byte_fields import ByteFields

# Cameras write EXIF first, or after one JFIF segment; a segment has at most 64 KiB.
SEARCHED_BYTES = 2**17

_APP1 = b"\xff\xe1"
_START_OF_SCAN = 0xDA
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3  # TIFF's name for integers of 2 bytes
_FIELD_BYTES = 12
_MAX_FIELDS = 512
_MAX_SEGMENTS = 32


def upright(image: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors a picture into its upright orientation.

    Args:
      image: (height, width, 3), as decoded.
      contents: content of the JPEG file, a scalar string.

    Returns:
      The upright image, of the same type; unchanged if the orientation is missing or damaged.
    """
    orientation = _orientation(contents)

    def is_one_of(*values):
        return tf.reduce_any(orientation == tf.constant(values, tf.int64))

    def turned():
        # (height, width, 3) -> (width, height, 3), mirrored about the diagonal
        x = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        mirrored = tf.stack([is_one_of(3, 4, 7, 8), is_one_of(2, 3, 6, 7)])
        return tf.reverse(x, tf.boolean_mask(tf.constant([0, 1]), mirrored))

    return tf.cond(orientation > 1, turned, lambda: image)


def _orientation(contents: tf.Tensor) -> tf.Tensor:
    """Returns the value of the tag, 1..8, int64; 1, upright, if there is none."""
    fields = ByteFields.of(tf.strings.substr(contents, 0, SEARCHED_BYTES))

    def is_exif(position):
        return fields.has(position, _APP1) & fields.has(position + 4, _EXIF)

    def is_another_segment(position):
        marker = fields.bytes(position, 2)
        is_segment = (marker[0] == 0xFF) & (marker[1] != _START_OF_SCAN)
        return is_segment & ~is_exif(position)

    (segment,) = tf.while_loop(
        is_another_segment,
        lambda position: [position + 2 + fields.integer(position + 2, 2)],
        [tf.constant(2, tf.int64)],
        parallel_iterations=1,
        maximum_iterations=_MAX_SEGMENTS,
    )
    upright_value = tf.constant(1, tf.int64)
    return tf.cond(
        is_exif(segment), lambda: _tiff_orientation(fields, segment), lambda: upright_value
    )


def _tiff_orientation(fields: ByteFields, segment: tf.Tensor) -> tf.Tensor:
    tiff = segment + 10  # after marker, length and "Exif\0\0"
    end = tf.minimum(fields.end, segment + 2 + fields.integer(segment + 2, 2))
    fields = dataclasses.replace(fields, end=end, little=fields.has(tiff, b"II"))
    directory = tiff + fields.integer(tiff + 4, 4)
    count = tf.minimum(fields.integer(directory, 2), _MAX_FIELDS)
    positions = (directory + 2 + _FIELD_BYTES * tf.range(count))[:, None]  # (count, 1)
    tags, types = fields.integer(positions, 2), fields.integer(positions + 2, 2)
    values = fields.integer(positions + 8, 2)
    is_orientation = (tags == _ORIENTATION) & (types == _SHORT) & (values >= 1) & (values <= 8)
    found = tf.boolean_mask(values, is_orientation)
    return tf.concat([found, tf.constant([1], tf.int64)], axis=0)[0]
