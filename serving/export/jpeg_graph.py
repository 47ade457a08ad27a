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
    values = tf.io.decode_raw(content, tf.uint8)
    second = values[1:]
    # Other markers have no segment and occur in coded pixels.
    has_segment = ((second >= 0xC0) & (second <= 0xCF)) | ((second >= 0xD8) & (second <= 0xFE))
    places = tf.where((values[:-1] == 0xFF) & has_segment)[:, 0]
    end = tf.size(values, tf.int64)
    places = tf.concat([places, end[None]], axis=0)
    padded, following = tf.pad(values, [[0, 4]]), tf.range(1, 4, dtype=tf.int64)

    def step(position, scans, _):
        place = places[tf.searchsorted(places, tf.minimum(position, end)[None])[0]]
        marker, high, low = tf.unstack(tf.gather(padded, place + following))
        length = 256 * tf.cast(high, tf.int64) + tf.cast(low, tf.int64)
        scans += tf.cast(marker == _START_OF_SCAN, tf.int32)
        is_end = (marker == _END_OF_IMAGE) | (place == end)
        return place + 2 + tf.maximum(length, 2), scans, is_end

    _, scans, is_end = tf.while_loop(
        lambda _, scans, is_end: ~is_end & (scans <= limit),
        step,
        [tf.constant(2, tf.int64), tf.constant(0), tf.constant(False)],
        parallel_iterations=1,
        maximum_iterations=_MAX_SEGMENTS,
    )
    return (scans > limit) | ~is_end
