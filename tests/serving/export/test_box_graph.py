"""Boxes in the graph: the region is that of training; what is no box of a picture is refused."""

import numpy as np
import pytest
import tensorflow as tf

from levit_tf.keypoints.regions import cut
from serving.export.box_graph import checked_boxes, cut_box, inside, to_picture

SIZE = (64, 48)
CASES = [
    ((200, 300), (10, 20, 150, 120)),
    ((200, 300), (0, 0, 200, 300)),
    ((200, 300), (3.25, 100.5, 9.75, 280)),
    ((40, 40), (5, 5, 5.5, 5.5)),
    ((1, 77), (0, 10.5, 1, 60)),
    ((90, 20), (60, 0, 90, 4)),
]


def _picture(sides):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*sides, 3)).astype(np.uint8)


def _left_top_width_height(box):
    y1, x1, y2, x2 = box
    return x1, y1, x2 - x1, y2 - y1


@pytest.mark.parametrize(("sides", "box"), CASES, ids=str)
def test_a_network_is_shown_what_training_shows_it(sides, box):
    picture = _picture(sides)
    expected, (scale, x, y) = cut(picture, _left_top_width_height(box), SIZE)
    found = tf.function(cut_box)(tf.constant(picture), SIZE, tf.constant(box, tf.float32)).numpy()
    difference = np.abs(found - expected)
    assert expected.max() > 0
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02  # Pillow's fixed-point arithmetic
    places = np.float32([[0, 3.5, 47]])
    boxes = tf.constant([box], tf.float32)
    for value, offset, axis in zip(
        to_picture(places, places, boxes, SIZE), (x, y), "xy", strict=True
    ):
        np.testing.assert_allclose(value, scale * places + offset, atol=1e-3, err_msg=axis)


@tf.function(
    input_signature=[
        tf.TensorSpec([None], tf.string),
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None, 2], tf.int32),
    ]
)
def _checked(contents, boxes, sides):
    contents, boxes = checked_boxes(contents, boxes, 3)
    return inside(boxes, sides)


GOOD = (10.0, 20.0, 100.0, 120.0)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([GOOD, (10, 20, 10, 40)], r"box 1 of 2: .*y1 < y2 and x1 < x2, got \(10, 20, 10, 40\)"),
        ([(10, 50, 20, 40), GOOD], r"box 0 of 2: .*x1 < x2"),
        ([GOOD, (np.nan, 0, 20, 40)], r"box 1 of 2: expected numbers .*nan"),
        ([GOOD, (0, 0, np.inf, 40)], r"box 1 of 2: expected numbers .*inf"),
        (
            [GOOD, (0, 0, 202, 40)],
            r"box 1 of 2: .*picture, which is 200x300 pixels, got \(0, 0",
        ),
        ([GOOD, (-2, 0, 20, 40)], r"box 1 of 2: expected it inside"),
        ([GOOD, (0, 300, 20, 340)], r"box 1 of 2: expected it inside"),
        ([GOOD], "boxes: expected one for each picture of image_bytes, got 1 for 2"),
        ([GOOD] * 3, "got 3 for 2"),
        (np.zeros((0, 4)), "boxes: expected .* of an empty batch"),
        ([GOOD] * 4, "boxes: expected .* of more than 3"),
    ],
    ids=str,
)
def test_what_is_no_box_of_its_picture_is_refused(boxes, message):
    sides = tf.constant([[200, 300]] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        _checked(tf.constant([b"a", b"b"]), tf.constant(boxes, tf.float32), sides)


def test_a_box_that_rounding_has_put_outside_is_taken():
    sides = tf.constant([[200, 300]])
    box = [[-0.5, -0.5, 200.5, 300.5]]
    np.testing.assert_array_equal(_checked(tf.constant([b"a"]), tf.constant(box), sides), box)
