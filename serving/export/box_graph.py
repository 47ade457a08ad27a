"""Boxes of persons in pictures, in a TensorFlow graph: what is refused, cut out, and led back.

A box is (y1, x1, y2, x2), as TensorFlow's operations have it, but in pixels of the picture. The
region that a network is shown for it is that of `levit_tf.keypoints.regions`, as in training.
"""

from __future__ import annotations

import tensorflow as tf

from converters.saved_model.input_checks import checked_batch
from levit_tf.keypoints.regions import BOX_MARGIN, SMALLEST_SCALE
from levit_tf.resizing import resize_region
from serving.signatures import BOXES, IMAGE_BYTES

BOX = tf.TensorSpec([4], tf.float32)
_TOLERANCE = 1.0  # pixels beyond the picture that rounding may have made


def checked_boxes(contents: tf.Tensor, boxes: tf.Tensor, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Passes files and boxes through, if there are as many, and each box is one.

    Args:
      contents: (batch,) string.
      boxes: (batch, 4).
      most: of either.
    """
    contents = checked_batch(contents, IMAGE_BYTES, (), most)
    boxes = checked_batch(boxes, BOXES, (4,), most)
    counts = [tf.shape(tensor)[0] for tensor in (boxes, contents)]
    numbers = list(map(tf.strings.as_string, counts))
    message = [f"{BOXES}: expected one for each picture of {IMAGE_BYTES}, got ", numbers[0]]
    message = tf.strings.join([*message, " for ", numbers[1]])
    check = tf.debugging.Assert(counts[0] == counts[1], [message])
    with tf.control_dependencies([check]):
        contents, boxes = tf.identity(contents), tf.identity(boxes)
    y1, x1, y2, x2 = tf.unstack(boxes, axis=1)
    is_box = tf.reduce_all(tf.math.is_finite(boxes), axis=1) & (y1 < y2) & (x1 < x2)
    expected = "expected numbers (y1, x1, y2, x2) with y1 < y2 and x1 < x2"
    with tf.control_dependencies([_all_are(is_box, boxes, tf.constant(expected))]):
        return tf.identity(contents), tf.identity(boxes)


def inside(boxes: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """Passes boxes through, if they lie in their pictures.

    Args:
      boxes: (batch, 4).
      sides: (height, width) of the pictures, (batch, 2) int32.
    """
    is_inside = _lies_inside(boxes, sides)
    place = tf.argmin(tf.cast(is_inside, tf.int32))
    height, width = tf.unstack(tf.strings.as_string(sides[place]))
    size = tf.strings.join([height, width], "x")
    expected = tf.strings.join(["expected it inside of its picture, which is ", size, " pixels"])
    with tf.control_dependencies([_all_are(is_inside, boxes, expected)]):
        return tf.identity(boxes)


def cut_box(image: tf.Tensor, size: tuple[int, int], box: tf.Tensor) -> tf.Tensor:
    """Cuts the region around a box out of a picture, as `levit_tf.keypoints.regions.cut` does.

    Args:
      image: (height, width, 3) uint8.
      size: (height, width) of the network's input.
      box: (4,) float32. One that `inside` refuses makes a black picture, and no work.

    Returns:
      (*size, 3) float32, whole numbers 0..255.
    """
    is_inside = _lies_inside(box[None], tf.shape(image)[None, :2])[0]

    def region():
        return resize_region(image, tf.unstack(_edges(box[None], size)[0]), size)

    return tf.cond(is_inside, region, lambda: tf.zeros([*size, 3]))


def to_picture(x: tf.Tensor, y: tf.Tensor, boxes: tf.Tensor, size: tuple[int, int]):
    """Places in what `cut_box` made, each (batch, joints), to places in the pictures."""
    top, left, _, right = tf.unstack(tf.cast(_edges(boxes, size), tf.float32)[..., None], axis=1)
    scale = (right - left) / size[1]
    offset = 0.5 * scale - 0.5  # the middle of the first pixel is 0 in both
    return x * scale + left + offset, y * scale + top + offset


def _edges(boxes: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """(top, left, bottom, right) of the regions of boxes, (batch, 4) int32."""
    y1, x1, y2, x2 = tf.unstack(tf.cast(boxes, tf.float64), axis=1)
    height, width = y2 - y1, x2 - x1
    scale = tf.maximum(BOX_MARGIN * tf.maximum(width / size[1], height / size[0]), SMALLEST_SCALE)
    found = []
    for first, side, pixels in ((y1, height, size[0]), (x1, width, size[1])):
        start = first + side / 2 - scale * pixels / 2
        low, high = (tf.cast(tf.round(x), tf.int32) for x in (start, start + scale * pixels))
        found.append((low, tf.maximum(high, low + 1)))
    (top, bottom), (left, right) = found
    return tf.stack([top, left, bottom, right], axis=1)


def _lies_inside(boxes: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    sides = tf.cast(sides, tf.float32)
    starts, ends = boxes[:, :2], boxes[:, 2:]
    is_low = (starts >= -_TOLERANCE) & (starts < sides)
    return tf.reduce_all(is_low & (ends > 0) & (ends <= sides + _TOLERANCE), axis=1)


def _all_are(is_so: tf.Tensor, boxes: tf.Tensor, expected: tf.Tensor) -> tf.Operation:
    """Fails with the first box of which something is not so."""
    place = tf.argmin(tf.cast(is_so, tf.int32))
    numbers = [tf.strings.as_string(number) for number in (place, tf.size(is_so))]
    values = tf.strings.reduce_join(
        tf.strings.as_string(boxes[place], shortest=True), separator=", "
    )
    message = ["box ", numbers[0], " of ", numbers[1], ": ", expected, ", got (", values, ")"]
    return tf.debugging.Assert(tf.reduce_all(is_so), [tf.strings.join(message)])
