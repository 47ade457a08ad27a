"""RandAugment's colour operations on a uint8 RGB image, with Pillow's arithmetic.

Each of them equals Pillow's to the last bit. They use operations for which TensorFlow has fast CPU
kernels: whole rows (height, width * 3) where a constant is broadcast, integer bit operations, and
float32 where whole numbers stay below 2**24.

Source: the operations of timm/data/auto_augment.py, and the modules of Pillow that they call.
"""

from __future__ import annotations

import tensorflow as tf

Number = float | tf.Tensor

# Rec. 601 luma weights in multiples of 1 / 65536, as in Pillow's convert("L"). All sums of products
# are whole multiples below 2**24, so float32 is exact.
_LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)
_LEVELS = 256
_SOLARIZE_ADD_THRESHOLD = 128


def auto_contrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches every channel to 0..255 (PIL.ImageOps.autocontrast).

    Args:
      image: (height, width, 3) uint8.

    Returns:
      An image with the shape and type of `image`.
    """
    width = size_of(image)[1]
    rows = _rows(tf.cast(image, tf.float32))
    channels = [-1, 3]
    low = tf.reduce_min(tf.reshape(tf.reduce_min(rows, axis=0), channels), axis=0)
    high = tf.reduce_max(tf.reshape(tf.reduce_max(rows, axis=0), channels), axis=0)
    low, high = tf.cast(low, tf.float64), tf.cast(high, tf.float64)
    # A channel with a single level stays unchanged. float64 is needed because results are
    # truncated.
    scale = tf.where(high > low, 255 / tf.maximum(high - low, 1), 1)
    offset = tf.where(high > low, -low * scale, 0)
    stretched = tf.cast(rows, tf.float64) * _across(scale, width) + _across(offset, width)
    return _image(tf.clip_by_value(stretched, 0, 255), image)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Flattens the histogram of every channel (PIL.ImageOps.equalize).

    Args:
      image: (height, width, 3) uint8.

    Returns:
      An image with the shape and type of `image`.
    """
    width = size_of(image)[1]
    # Level v of channel c has number 256 c + v, so one histogram and one table serve all three.
    first = _across(tf.constant([0, _LEVELS, 2 * _LEVELS]), width)
    numbers = tf.cast(_rows(image), tf.int32) + first
    histogram = tf.raw_ops.DenseBincount(
        input=tf.reshape(numbers, [-1]), size=3 * _LEVELS, weights=tf.zeros([0], tf.int32)
    )
    histogram = tf.reshape(histogram, [3, _LEVELS])
    levels = tf.range(_LEVELS)
    brightest = tf.reduce_max(tf.where(histogram > 0, levels, 0), axis=1, keepdims=True)
    count = tf.reduce_sum(tf.where(levels == brightest, 0, histogram), axis=1, keepdims=True)
    step = count // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.where(step > 0, (step // 2 + below) // tf.maximum(step, 1), levels)
    table = tf.cast(tf.minimum(table, 255), tf.uint8)
    return tf.reshape(tf.gather(tf.reshape(table, [-1]), numbers), tf.shape(image))


def invert(image: tf.Tensor) -> tf.Tensor:
    """Returns 255 - image (PIL.ImageOps.invert)."""
    return tf.bitwise.invert(image)


def posterize(image: tf.Tensor, bits: Number) -> tf.Tensor:
    """Keeps the highest bits of each value (PIL.ImageOps.posterize).

    Args:
      image: (height, width, 3) uint8.
      bits: number of bits to keep, 0..8. 0 gives a black image, as in Pillow before version 12;
        later versions refuse 0.

    Returns:
      An image with the shape and type of `image`.
    """
    dropped = tf.bitwise.left_shift(1, 8 - tf.cast(bits, tf.int32))
    return tf.bitwise.bitwise_and(image, tf.cast(_LEVELS - dropped, tf.uint8))


def solarize(image: tf.Tensor, threshold: Number) -> tf.Tensor:
    """Inverts the values at or above a threshold (PIL.ImageOps.solarize).

    Args:
      image: (height, width, 3) uint8.
      threshold: 0..256.

    Returns:
      An image with the shape and type of `image`.
    """
    above = tf.cast(image, tf.float32) >= tf.cast(threshold, tf.float32)
    # 255 - v is v with every bit flipped; choosing by bits is five times faster than tf.where.
    return tf.bitwise.bitwise_xor(image, tf.cast(above, tf.uint8) * 255)


def solarize_add(image: tf.Tensor, addend: Number) -> tf.Tensor:
    """Adds a constant to the values below 128 (`solarize_add` of timm, with its default threshold).

    Args:
      image: (height, width, 3) uint8.
      addend: 0..128.

    Returns:
      An image with the shape and type of `image`.
    """
    dark = tf.cast(image < _SOLARIZE_ADD_THRESHOLD, tf.uint8)
    return image + dark * tf.cast(addend, tf.uint8)


def color(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Changes the saturation (PIL.ImageEnhance.Color).

    Args:
      image: (height, width, 3) uint8.
      factor: 0 gives a grey image, 1 the image itself.

    Returns:
      An image with the shape and type of `image`.
    """
    rows = _rows(tf.cast(image, tf.float32))
    return _image(_blend(tf.reshape(_grey(image), tf.shape(rows)), rows, factor), image)


def contrast(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Changes the contrast around the mean grey level (PIL.ImageEnhance.Contrast).

    Args:
      image: (height, width, 3) uint8.
      factor: 0 gives a uniform grey image, 1 the image itself.

    Returns:
      An image with the shape and type of `image`.
    """
    height, width = size_of(image)
    total = tf.reduce_sum(tf.cast(_grey(image)[:, 0], tf.int64))
    pixels = tf.cast(height * width, tf.int64)
    mean = tf.cast((2 * total + pixels) // (2 * pixels), tf.float32)  # halves upwards
    return _image(_blend(mean, tf.cast(image, tf.float32), factor), image)


def brightness(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Changes the brightness (PIL.ImageEnhance.Brightness).

    Args:
      image: (height, width, 3) uint8.
      factor: 0 gives a black image, 1 the image itself.

    Returns:
      An image with the shape and type of `image`.
    """
    return _image(_blend(0.0, tf.cast(image, tf.float32), factor), image)


def sharpness(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Changes the sharpness (PIL.ImageEnhance.Sharpness).

    Args:
      image: (height, width, 3) uint8, at least 3x3 pixels.
      factor: 0 gives a blurred image, 1 the image itself. Pixels of the border stay unchanged.

    Returns:
      An image with the shape and type of `image`.
    """
    height = size_of(image)[0]
    rows = _rows(image)
    x = tf.cast(rows, tf.float32)
    # Pillow's SMOOTH filter: the mean over 3x3 pixels, in which the centre counts five times.
    inner = x[1:-1, 3:-3]
    columns = x[:-2] + x[1:-1] + x[2:]  # (height - 2, width * 3)
    total = columns[:, :-6] + columns[:, 3:-3] + columns[:, 6:] + 4 * inner
    blurred = tf.floor(total / 13 + 0.5)  # a thirteenth is never a half, so float32 is enough
    sharp = tf.cast(_blend(blurred, inner, factor), tf.uint8)
    middle = tf.concat([rows[1:-1, :3], sharp, rows[1:-1, -3:]], axis=1)
    return tf.reshape(tf.concat([rows[:1], middle, rows[height - 1 :]], axis=0), tf.shape(image))


def size_of(image: tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Returns (height, width); as integers where they are known while the graph is built."""
    dynamic = tf.unstack(tf.shape(image)[:2])
    return tuple(
        known if known is not None else unknown
        for known, unknown in zip(image.shape[:2], dynamic, strict=True)
    )


def _rows(image: tf.Tensor) -> tf.Tensor:
    """Reshapes (height, width, 3) to (height, width * 3)."""
    height, width = size_of(image)
    return tf.reshape(image, [height, width * 3])


def _across(values: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Repeats one value per channel to (width * 3,): broadcasting over 3 channels is slow."""
    return tf.tile(values, [width])


def _image(values: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Truncates to uint8 and restores the shape of `image`."""
    return tf.reshape(tf.cast(values, tf.uint8), tf.shape(image))


def _grey(image: tf.Tensor) -> tf.Tensor:
    """Computes the luma, in 3 channels: (height, width, 3) uint8 -> (height * width, 3) float32."""
    pixels = tf.reshape(tf.cast(image, tf.float32), [-1, 3])
    return tf.floor(tf.matmul(pixels, tf.constant([[weight] * 3 for weight in _LUMA])) + 0.5)


def _blend(degenerate: Number, x: tf.Tensor, factor: Number) -> tf.Tensor:
    """Computes PIL.Image.blend in float32, before the truncation to uint8."""
    return tf.clip_by_value(degenerate + tf.cast(factor, tf.float32) * (x - degenerate), 0, 255)
