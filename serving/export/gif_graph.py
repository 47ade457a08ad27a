"""Cuts the first frame out of a GIF before it is decoded.

TensorFlow's decoder unpacks all frames, whatever it returns, so a small animation could take any
amount of memory.

Source: the blocks of GIF89a.
"""

from __future__ import annotations

import tensorflow as tf

from serving.export.byte_fields import ByteFields

_EXTENSION, _IMAGE = 0x21, 0x2C
_TRAILER = b";"
_HEADER_BYTES = 13  # including the description of the canvas
_DESCRIPTION_BYTES = 10  # length of a frame's description, including the byte that announces it
# Parts usually have 255 bytes; the limit prevents a file of tiny parts from keeping a server busy.
_MAX_PARTS = 2**14
# States of the parser: what is at the position.
_BLOCK, _EXTENSION_DATA, _FRAME_DATA, _END = range(4)


def first_frame(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts a GIF file after its first frame.

    Args:
      contents: content of the file, a scalar string.

    Returns:
      The shorter file, and the number of pixels it decodes to: the larger of canvas and frame,
      int64. For a file without a complete frame nothing is left, which the decoder refuses.
    """
    fields = ByteFields.of(contents, little=True)

    def step(position, state, frame_pixels):
        kind = fields.byte(position)
        at_block = state == _BLOCK
        is_frame = at_block & (kind == _IMAGE)
        is_extension = at_block & (kind == _EXTENSION)
        description = _DESCRIPTION_BYTES + _table_bytes(fields.byte(position + 9)) + 1
        is_last = ~at_block & (kind == 0)  # data end with an empty part
        after = tf.where(state == _FRAME_DATA, _END, _BLOCK)
        following = tf.where(is_last, after, state)
        following = tf.where(is_extension, _EXTENSION_DATA, following)
        following = tf.where(is_frame, _FRAME_DATA, following)
        is_end = at_block & ~is_frame & ~is_extension
        part = tf.where(is_extension, tf.constant(2, tf.int64), kind + 1)
        area = fields.integer(position + 5, 2) * fields.integer(position + 7, 2)
        return (
            position + tf.where(is_frame, description, part),
            tf.where(is_end, _END, following),
            tf.where(is_frame, area, frame_pixels),
        )

    start = _HEADER_BYTES + _table_bytes(fields.byte(10))
    end, state, frame_pixels = tf.while_loop(
        lambda position, state, _: (state != _END) & (position < fields.end),
        step,
        [start, tf.constant(_BLOCK), tf.constant(0, tf.int64)],
        parallel_iterations=1,
        maximum_iterations=_MAX_PARTS,
    )
    is_whole = (state == _END) & (frame_pixels > 0) & (end < fields.end)
    end = tf.where(is_whole, end, tf.constant(0, tf.int64))
    canvas = fields.integer(6, 2) * fields.integer(8, 2)
    cut = tf.strings.substr(contents, 0, tf.cast(end, tf.int32))
    return cut + _TRAILER, tf.maximum(canvas, frame_pixels)


def _table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Returns the length of the colour table that `flags` announces, int64."""
    length = 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8)
    return tf.where(flags >= 128, length, tf.constant(0, tf.int64))
