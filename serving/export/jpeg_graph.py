"""Counts the scans of a JPEG before it is decoded.

Each scan of a progressive JPEG may cover the whole picture, so a small file of many could keep a
server busy for minutes.

Source: the marker segments of JPEG (ITU-T T.81, annex B).
"""

from __future__ import annotations

import tensorflow as tf

_SCAN = b"\xff\xda"
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MAX_SEGMENTS = 1000
_PART = 1 << 16  # number of bytes that are looked at together


def has_more_scans(content: tf.Tensor, limit: int) -> tf.Tensor:
    """Returns whether a JPEG has more than a number of scans, a scalar bool.

    What follows the picture's end does not count: phones append a video or a second picture.

    Args:
      content: content of the file, a scalar string.
      limit: the number of scans.
    """
    # Nearly all files are known to be harmless without looking for the picture's end.
    parts = tf.strings.split(content, _SCAN, maxsplit=limit + 1)
    return tf.cond(
        tf.size(parts) > limit + 1, lambda: _has_more(content, limit), lambda: tf.constant(False)
    )


def _has_more(content: tf.Tensor, limit: int) -> tf.Tensor:
    """Follows the segments; a file with too many of them counts as one of too many scans."""
    size = tf.cast(tf.strings.length(content), tf.int64)

    def step(position, scans, segments, _):
        # A part at a time, since the places of a whole file's markers can be ten times its size.
        part = tf.strings.substr(content, position, _PART + 3)
        values = tf.io.decode_raw(part, tf.uint8, fixed_length=_PART + 4)
        second = values[1 : _PART + 1]
        # Other markers have no segment and occur in coded pixels.
        has_segment = ((second >= 0xC0) & (second <= 0xCF)) | ((second >= 0xD8) & (second <= 0xFE))
        places = tf.where((values[:_PART] == 0xFF) & has_segment)[:, 0]
        is_found = tf.size(places) > 0
        place = tf.concat([places, [_PART]], axis=0)[0]
        marker, high, low = tf.unstack(tf.gather(values, place + tf.range(1, 4, dtype=tf.int64)))
        length = 256 * tf.cast(high, tf.int64) + tf.cast(low, tf.int64)
        position += place + tf.where(is_found, 2 + tf.maximum(length, 2), 0)
        scans += tf.cast(is_found & (marker == _START_OF_SCAN), tf.int32)
        segments += tf.cast(is_found, tf.int32)
        is_end = is_found & (marker == _END_OF_IMAGE)
        return tf.minimum(position, size), scans, segments, is_end

    _, scans, segments, is_end = tf.while_loop(
        lambda position, scans, segments, is_end: (
            ~is_end & (position < size) & (scans <= limit) & (segments < _MAX_SEGMENTS)
        ),
        step,
        [tf.constant(2, tf.int64), tf.constant(0), tf.constant(0), tf.constant(False)],
        parallel_iterations=1,
    )
    return (scans > limit) | (~is_end & (segments == _MAX_SEGMENTS))
