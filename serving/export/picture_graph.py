"""Decodes encoded pictures of any size into one batch, in a TensorFlow graph, or refuses them.

JPEG, PNG, GIF (its first frame) and BMP are decoded as by `levit_lite.images`, except that only the
EXIF orientation of JPEGs is applied, not the rare ones of PNG and XMP. WebP is refused: only recent
TensorFlow has an operation for it, and a server cannot load a graph with an operation that it does
not know.

If a picture cannot be decoded, the request fails with INVALID_ARGUMENT and a message with the
picture's index in the batch. Headers are checked before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from converters.saved_model.input_checks import checked_batch
from levit_tf.preprocessing import resize_and_center_crop
from serving.export.bmp_graph import decode_bmp
from serving.export.exif_graph import upright
from serving.export.picture_headers import (
    DAMAGED,
    MAX_PIXELS,
    MAX_REQUEST_PIXELS,
    OK,
    REASONS,
    TOO_MANY,
    read_header,
)
from serving.signatures import IMAGE_BYTES

MAX_PICTURES = 128  # per request; the network's cost does not depend on the size of a picture
PARALLEL_PICTURES = 8
# Larger pictures are decoded one after the other, so that a request never has more pixels in memory
# than twice the limit for a single picture.
_PARALLEL_PIXELS = MAX_PIXELS // PARALLEL_PICTURES


def batch_decoder(
    size: tuple[int, int],
    fit: Callable[..., tf.Tensor] = resize_and_center_crop,
    of_each: Sequence[tf.TensorSpec] = (),
) -> tf.types.experimental.GenericFunction:
    """Builds the function that decodes pictures and fits them to one size.

    Args:
      size: (height, width) of the result, pixels.
      fit: function of a picture, (height, width, 3) uint8, and `size` that returns whole numbers
        0..255, (*size, 3) float32. By default the evaluation protocol.
      of_each: further tensors for each picture, which are passed to `fit`.

    Returns:
      A `tf.function` from files, (batch,) string, and batches of the further tensors to fitted
      pictures, (batch, *size, 3) uint8, and their original (height, width), (batch, 2) int32. It
      raises InvalidArgumentError for a picture that is refused, and for more than `MAX_PICTURES`.
    """
    decode_one = _decoder(size, fit, of_each)
    more = [tf.TensorSpec([None, *spec.shape], spec.dtype) for spec in of_each]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), *more], autograph=False)
    def decode(contents, *more):
        contents = checked_batch(contents, IMAGE_BYTES, (), MAX_PICTURES)
        return _decode_batch(contents, more, decode_one, size)

    return decode


def _decode_batch(contents, more, decode_one, size):
    def alone(element):
        content, *more = element
        header = read_header(content)
        is_ok = header.state == OK
        image, sides = tf.cond(
            is_ok, lambda: decode_one(header.content, header.kind, *more), lambda: _nothing(size)
        )
        return image, sides, header.state

    def one_by_one():
        spec = tuple(
            tf.TensorSpec(shape, dtype)
            for shape, dtype in (([*size, 3], tf.uint8), ([2], tf.int32), ([], tf.int32))
        )
        return tf.map_fn(alone, (contents, *more), fn_output_signature=spec)

    # Creating a data set takes about a millisecond. A single picture does not need it, as an error
    # message of its decoder needs no index.
    count = tf.size(contents, tf.int64)
    images, sides, states = tf.cond(
        count > 1, lambda: _in_parallel(contents, more, count, decode_one, size), one_by_one
    )

    def refused():
        place = tf.argmax(tf.cast(states != OK, tf.int32))
        reason = tf.gather(tf.constant(REASONS), states[place])
        numbers = [tf.strings.as_string(number) for number in (place, count)]
        message = tf.strings.join(["picture ", numbers[0], " of ", numbers[1], ": ", reason])
        with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
            return tf.identity(images)

    images = tf.cond(tf.reduce_all(states == OK), lambda: images, refused)
    return tf.ensure_shape(images, [None, *size, 3]), tf.ensure_shape(sides, [None, 2])


def _nothing(size) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns placeholders for a picture that is not decoded, and for its sides."""
    return tf.zeros([*size, 3], tf.uint8), tf.zeros([2], tf.int32)


def _in_parallel(contents, more, count, decode_one, size) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes pictures in parallel; returns images, sides, and states (batch,) int32."""

    def with_header(place, element):
        content, *more = element
        header = read_header(content)
        return place, (header.content, header.kind, *more), header.pixels, header.state

    def counted(total, element):
        *known, pixels, state = element
        total += pixels
        state = tf.where((state == OK) & (total > MAX_REQUEST_PIXELS), TOO_MANY, state)
        return total, (*known, pixels, state)

    def if_small(place, given, pixels, state):
        is_now = (state == OK) & (pixels <= _PARALLEL_PIXELS)
        found = tf.cond(is_now, lambda: decode_one(*given), lambda: _nothing(size))
        return place, given, pixels, state, *found

    def if_large(place, given, pixels, state, *found):
        is_now = (state == OK) & (pixels > _PARALLEL_PIXELS)
        found = tf.cond(is_now, lambda: decode_one(*given), lambda: found)
        return place, *found, state

    # A decoder's error does not contain the picture's index. So failing pictures are dropped, and
    # the missing indices show which they were.
    decoded = tf.data.Dataset.from_tensor_slices((contents, *more)).enumerate()
    decoded = decoded.map(with_header).ignore_errors().scan(tf.constant(0, tf.int64), counted)
    decoded = decoded.map(if_small, num_parallel_calls=PARALLEL_PICTURES).ignore_errors()
    decoded = decoded.map(if_large).ignore_errors()
    # A data set must not be empty.
    last = (count, *_nothing(size), tf.constant(OK))
    decoded = decoded.concatenate(tf.data.Dataset.from_tensors(last))
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    decoded = decoded.batch(count + 1).with_options(options)
    places, images, sides, states = decoded.get_single_element()
    damaged = tf.fill([count + 1], DAMAGED)
    states = tf.tensor_scatter_nd_update(damaged, places[:, None], states)
    # Dropped pictures have no image, and make the request fail.
    return images[:-1], sides[:-1], states[:-1]


def _decoder(size, fit, of_each):
    """Makes a function from a file, its kind and more to (*size, 3) uint8 and its sides."""

    image = tf.TensorSpec([None, None, 3], tf.uint8)

    @tf.function(input_signature=[image, *of_each], autograph=False)
    def fitted(image, *more):
        found = tf.ensure_shape(tf.cast(fit(image, size, *more), tf.uint8), [*size, 3])
        return found, tf.shape(image)[:2]

    spec = [tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32), *of_each]

    @tf.function(input_signature=spec, autograph=False)
    def decode(content, kind, *more):
        return fitted(_decode(content, kind), *more)

    return decode


def _decode(content: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Decodes a file that `read_header` accepts to (height, width, 3) uint8."""

    def jpeg():
        # The accurate cosine transform, which is Pillow's default.
        image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
        return upright(image, content)

    def png():
        return tf.io.decode_png(content, channels=3)

    def gif():
        return tf.io.decode_gif(content)[0]

    def bmp():
        return decode_bmp(content)

    # In the order of their numbers in picture_headers.
    decoders = [jpeg, png, gif, bmp]
    cases = [
        lambda decode=decode: tf.ensure_shape(decode(), [None, None, 3]) for decode in decoders
    ]
    return tf.switch_case(kind, cases)
