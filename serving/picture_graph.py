"""Encoded pictures of any sizes to one batch, in a TensorFlow graph, and what is refused.

JPEG, PNG, GIF (its first frame) and BMP become what `levit_tf.images` makes of them, except that
only the EXIF orientation of JPEGs is applied, not the rare ones of PNG and XMP. WebP is refused:
only recent TensorFlow has an operation for it, and a graph with an operation that a server
does not know cannot be loaded at all.

A picture that cannot be decoded fails the request with INVALID_ARGUMENT and a message that names
its place in the batch. What a header declares is looked at before anything is decoded.
"""

from __future__ import annotations

import tensorflow as tf

from converters.input_checks import checked_batch
from levit_tf.preprocessing import resize_and_center_crop
from serving.bmp_graph import bmp_header, decode_bmp
from serving.byte_fields import ByteFields
from serving.exif_graph import upright
from serving.gif_graph import first_frame
from serving.signatures import IMAGE_BYTES

# Decoding and resizing take about 25 bytes a pixel, of as many pictures at a time as there are
# threads: less than levit_tf.images.MAX_PIXELS, which is for one picture of one's own.
MAX_PIXELS = 50_000_000
PARALLEL_PICTURES = 8

# What becomes of a picture, and what a client is told of it.
_OK, _EMPTY, _UNKNOWN, _WEBP, _BMP_KIND, _TOO_LARGE, _DAMAGED = range(7)
_REASONS = (
    "",
    "empty (0 bytes)",
    "not a JPEG, PNG, GIF or BMP file",
    "WebP, which is not decoded here; send JPEG or PNG",
    "a BMP of a rare kind; send 24 or 32 bits a pixel uncompressed, or PNG",
    f"more than the {MAX_PIXELS:,} pixels that are decoded at most",
    "truncated or damaged",
)
_HEADER_BYTES = 64


def batch_decoder(size: tuple[int, int]) -> tf.types.experimental.GenericFunction:
    """Builds the function that decodes pictures and fits them to the network's input.

    Args:
      size: (height, width) of the result, pixels.

    Returns:
      A `tf.function` of files, (batch,) string, that are preprocessed by the evaluation protocol:
      (batch, *size, 3) float32, RGB 0..255. It fails with InvalidArgumentError for a picture that
      is refused.
    """
    one = _decoder(size)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def decode(contents):
        contents = checked_batch(contents, IMAGE_BYTES, ())
        return _decode_batch(contents, one, size)

    return decode


def _decode_batch(contents, one, size):
    def one_by_one():
        spec = (tf.TensorSpec([*size, 3], tf.float32), tf.TensorSpec([], tf.int32))
        return tf.map_fn(one, contents, fn_output_signature=spec)

    # Setting up a data set takes about a millisecond, which one picture does without: what its
    # decoder says needs no number.
    count = tf.size(contents, tf.int64)
    images, states = tf.cond(
        count > 1, lambda: _in_parallel(contents, count, one, size), one_by_one
    )

    def refused():
        place = tf.argmax(tf.cast(states != _OK, tf.int32))
        reason = tf.gather(tf.constant(_REASONS), states[place])
        numbers = [tf.strings.as_string(number) for number in (place, count)]
        message = tf.strings.join(["picture ", numbers[0], " of ", numbers[1], ": ", reason])
        with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
            return tf.identity(images)

    images = tf.cond(tf.reduce_all(states == _OK), lambda: images, refused)
    return tf.ensure_shape(images, [None, *size, 3])


def _in_parallel(contents, count, one, size) -> tuple[tf.Tensor, tf.Tensor]:
    """What `one` makes of each picture: (batch, *size, 3) float32 and states (batch,) int32."""

    def numbered(place, content):
        return place, *one(content)

    decoded = tf.data.Dataset.from_tensor_slices(contents).enumerate()
    # An error of a decoder does not say which picture it was. So such pictures are left out, and
    # found by their absence.
    decoded = decoded.map(numbered, num_parallel_calls=PARALLEL_PICTURES).ignore_errors()
    # A data set must not be empty.
    last = (count, tf.zeros([*size, 3]), tf.constant(_OK))
    decoded = decoded.concatenate(tf.data.Dataset.from_tensors(last))
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    places, images, states = decoded.batch(count + 1).with_options(options).get_single_element()
    damaged = tf.fill([count + 1], _DAMAGED)
    states = tf.tensor_scatter_nd_update(damaged, places[:, None], states)
    return images[:-1], states[:-1]


def _decoder(size):
    """A function of one file -> (*size, 3) float32 and a state; zeros unless that is `_OK`."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], autograph=False)
    def fit(image):
        return tf.ensure_shape(resize_and_center_crop(image, size), [*size, 3])

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def decode(content):
        image, state = _decode(content)
        is_ok = state == _OK
        return tf.cond(is_ok, lambda: fit(image), lambda: tf.zeros([*size, 3])), state

    return decode


def _decode(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One file to (height, width, 3) uint8 and a state; the former empty unless that is `_OK`."""

    def refuse(state):
        return tf.zeros([0, 0, 3], tf.uint8), tf.convert_to_tensor(state)

    def of_size(pixels, decode):
        def decoded():
            return tf.ensure_shape(decode(), [None, None, 3]), tf.constant(_OK)

        return tf.cond(pixels <= MAX_PIXELS, decoded, lambda: refuse(_TOO_LARGE))

    header = ByteFields.of(tf.strings.substr(content, 0, _HEADER_BYTES))

    def jpeg():
        shape = tf.cast(tf.io.extract_jpeg_shape(content), tf.int64)

        def decode():
            # The accurate cosine transform, which is Pillow's default.
            image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
            return upright(image, content)

        return of_size(shape[0] * shape[1], decode)

    def png():
        pixels = header.integer(16, 4) * header.integer(20, 4)
        return of_size(pixels, lambda: tf.io.decode_png(content, channels=3))

    def gif():
        frame, pixels = first_frame(content)
        return of_size(pixels, lambda: tf.io.decode_gif(frame)[0])

    def bmp():
        pixels, is_known = bmp_header(content)
        return tf.cond(
            is_known,
            lambda: of_size(pixels, lambda: decode_bmp(content)),
            lambda: refuse(_BMP_KIND),
        )

    def other():
        is_webp = header.has(0, b"RIFF") & header.has(8, b"WEBP")
        is_empty = tf.strings.length(content) == 0
        return refuse(tf.where(is_empty, _EMPTY, tf.where(is_webp, _WEBP, _UNKNOWN)))

    return tf.case(
        [
            (header.has(0, b"\xff\xd8\xff"), jpeg),
            (header.has(0, b"\x89PNG\r\n\x1a\n"), png),
            (header.has(0, b"GIF8"), gif),
            (header.has(0, b"BM"), bmp),
        ],
        default=other,
    )
