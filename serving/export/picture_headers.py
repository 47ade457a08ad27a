"""Reads the header of a picture file in a TensorFlow graph, before anything is decoded."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from serving.export.bmp_graph import bmp_header
from serving.export.byte_fields import ByteFields
from serving.export.gif_graph import first_frame
from serving.export.jpeg_graph import has_more_scans

# Decoding and resizing take about 25 bytes per pixel. The limit is lower than
# levit_lite.images.MAX_PIXELS, which is for a single picture of the user's own.
MAX_PIXELS = 50_000_000
# Limit for a progressive JPEG, each scan of which covers the whole picture. Encoders write about
# ten.
MAX_SCANS = 32

# States of a picture, and the reasons that a client is given.
OK, EMPTY, UNKNOWN, WEBP, BMP_KIND, TOO_LARGE, SCANS, TOO_MANY, DAMAGED = range(9)
MAX_REQUEST_PIXELS = 200_000_000  # all pictures of a request together; more are refused as TOO_MANY
REASONS = (
    "",
    "empty (0 bytes)",
    "not a JPEG, PNG, GIF or BMP file",
    "WebP, which is not decoded here; send JPEG or PNG",
    "a BMP of a rare kind; send 24 or 32 bits a pixel uncompressed, or PNG",
    f"more than the {MAX_PIXELS:,} pixels that are decoded at most",
    f"a JPEG of more than {MAX_SCANS} scans",
    f"with those before it more than the {MAX_REQUEST_PIXELS:,} pixels of a request",
    "truncated or damaged",
)
# Kinds of files, the cases of a tf.switch_case.
JPEG, PNG, GIF, BMP, NONE = range(5)
_HEADER_BYTES = 64


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of a file.

    Attributes:
      content: content to decode, string: the file, or for a GIF the part with its first frame.
      kind: kind of the file, `JPEG` and so on, int32.
      pixels: number of pixels that it decodes to, int64; 0 if it must not be decoded.
      state: `OK`, or the reason why it must not be decoded, int32.
    """

    content: tf.Tensor
    kind: tf.Tensor
    pixels: tf.Tensor
    state: tf.Tensor


def read_header(content: tf.Tensor) -> Header:
    """Reads the header of a file, a scalar string.

    It raises InvalidArgumentError for a JPEG with an incomplete header.
    """
    header = ByteFields.of(tf.strings.substr(content, 0, _HEADER_BYTES))
    zero = tf.constant(0, tf.int64)

    def sized(kind, pixels, content=content, state=OK):
        is_small = pixels <= MAX_PIXELS
        state = tf.where(is_small, state, TOO_LARGE)
        return content, tf.constant(kind), tf.where(state == OK, pixels, zero), state

    def jpeg():
        shape = tf.cast(tf.io.extract_jpeg_shape(content), tf.int64)
        state = tf.where(has_more_scans(content, MAX_SCANS), SCANS, OK)
        return sized(JPEG, shape[0] * shape[1], state=state)

    def png():
        return sized(PNG, header.integer(16, 4) * header.integer(20, 4))

    def gif():
        frame, pixels = first_frame(content)
        return sized(GIF, pixels, frame)

    def bmp():
        pixels, is_known = bmp_header(content)
        return sized(BMP, pixels, state=tf.where(is_known, OK, BMP_KIND))

    def other():
        is_webp = header.has(0, b"RIFF") & header.has(8, b"WEBP")
        is_empty = tf.strings.length(content) == 0
        state = tf.where(is_empty, EMPTY, tf.where(is_webp, WEBP, UNKNOWN))
        return content, tf.constant(NONE), zero, state

    return Header(
        *tf.case(
            [
                (header.has(0, b"\xff\xd8\xff"), jpeg),
                (header.has(0, b"\x89PNG\r\n\x1a\n"), png),
                (header.has(0, b"GIF8"), gif),
                (header.has(0, b"BM"), bmp),
            ],
            default=other,
        )
    )
