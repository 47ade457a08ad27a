"""Decodes BMP files, after a check of the header, as TensorFlow's decoder misreads rare kinds.

The decoder treats any palette as a grey one, ignores compression and the order of the colours, and
reads the short header of OS/2 as a long one.

Source: BITMAPFILEHEADER and BITMAPINFOHEADER of the Windows API.
"""

from __future__ import annotations

import tensorflow as tf

from serving.export.byte_fields import ByteFields

_LONG_HEADER_BYTES = 40
_MASKS_AT = 54
_UNCOMPRESSED, _BY_MASKS = 0, 3
_USUAL_MASKS = (0xFF0000, 0x00FF00, 0x0000FF)  # red, green and blue, as without masks
_GREYS = 256


def bmp_header(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads the header of a BMP file.

    Args:
      contents: content of the file, a scalar string.

    Returns:
      The number of pixels in the header, int64, and whether `decode_bmp` can decode such a file.
    """
    fields = _fields(contents)
    sides = [_absolute(fields.integer(position, 4)) for position in (18, 22)]
    bits, compression = fields.integer(28, 2), fields.integer(30, 4)
    masks = [fields.integer(_MASKS_AT + 4 * n, 4) == mask for n, mask in enumerate(_USUAL_MASKS)]
    is_plain = compression == _UNCOMPRESSED
    kinds = [
        is_plain & (bits == 24),
        is_plain & (bits == 32),
        (compression == _BY_MASKS) & (bits == 32) & tf.reduce_all(masks),
        is_plain & (bits == 8) & _has_greys(fields),
    ]
    is_long = fields.integer(14, 4) >= _LONG_HEADER_BYTES
    return sides[0] * sides[1], is_long & tf.reduce_any(kinds)


def decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP file that `bmp_header` accepts.

    Returns:
      (height, width, 3) uint8 RGB.
    """
    image = tf.io.decode_bmp(contents, channels=0)
    channels = tf.where(tf.shape(image)[2] == 1, [0, 0, 0], [0, 1, 2])
    return tf.gather(image, channels, axis=2)


def _fields(contents: tf.Tensor) -> ByteFields:
    # Headers have up to 124 bytes; a palette with 4 bytes per colour follows.
    return ByteFields.of(tf.strings.substr(contents, 0, 2048), little=True)


def _absolute(side: tf.Tensor) -> tf.Tensor:
    """Returns a side in pixels; a negative height means that the top row comes first."""
    return tf.where(side >= 2**31, 2**32 - side, side)


def _has_greys(fields: ByteFields) -> tf.Tensor:
    """Whether the palette is that of a grey picture: colour n is grey level n."""
    colours = (14 + fields.integer(14, 4) + 4 * tf.range(_GREYS, dtype=tf.int64))[:, None]
    found = fields.bytes(colours, 3)  # (_GREYS, 3)
    return tf.reduce_all(found == tf.range(_GREYS, dtype=tf.int64)[:, None])
