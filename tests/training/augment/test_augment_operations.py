"""RandAugment's operations: equal to timm's, which are Pillow's, on the same picture."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.training.augment_cases import SIZES, picture
from tests.support.training.timm_data import timm_data
from training.augment import affine, operations
from training.augment.rand_augment import FILL

FACTORS = (0.1, 0.19, 0.73, 1.0, 1.27, 1.81, 1.9)
POINT_OPERATIONS = [
    ("auto_contrast", ()),
    ("equalize", ()),
    ("invert", ()),
    ("posterize", range(1, 9)),
    ("solarize", (0, 1, 26, 128, 255, 256)),
    ("solarize_add", (0, 1, 55, 99, 110)),
    ("color", FACTORS),
    ("contrast", FACTORS),
    ("brightness", FACTORS),
    ("sharpness", FACTORS),
]
# Of the values of a picture, those that may differ, by one level, and the largest mean difference.
MOVING_OPERATIONS = [
    ("rotate", (-30.0, -27.3, 0.0, 4.1, 28.9)),
    ("shear_x", (-0.3, -0.271, 0.0, 0.013, 0.3)),
    ("shear_y", (-0.3, -0.271, 0.0, 0.013, 0.3)),
    ("translate_x", (-0.45, -0.401, 0.0, 0.02, 0.45)),
    ("translate_y", (-0.45, -0.401, 0.0, 0.02, 0.45)),
]


@functools.cache
def compiled(name):
    """The operation in a graph that knows neither height nor width."""
    function = getattr(affine, name, None) or getattr(operations, name)
    signature = [tf.TensorSpec([None, None, 3], tf.uint8)]
    if name in dict(MOVING_OPERATIONS):
        return tf.function(
            lambda image, argument: function(image, argument, FILL)
        ).get_concrete_function(*signature, tf.TensorSpec([], tf.float64))
    if dict(POINT_OPERATIONS)[name]:
        return tf.function(function).get_concrete_function(
            *signature, tf.TensorSpec([], tf.float64)
        )
    return tf.function(function).get_concrete_function(*signature)


def ours(name, image, arguments):
    arguments = [tf.constant(argument, tf.float64) for argument in arguments]
    return compiled(name)(tf.constant(image), *arguments).numpy()


def timms(name, image, arguments):
    function = getattr(timm_data().auto_augment, name + "_rel" * name.startswith("translate"))
    options = {"resample": Image.Resampling.BICUBIC, "fillcolor": FILL}
    return np.asarray(function(Image.fromarray(image), *arguments, **options))


def cases(table):
    return [
        pytest.param(name, (argument,) if arguments else (), id=f"{name}-{argument}")
        for name, arguments in table
        for argument in (arguments or ("",))
    ]


@pytest.mark.parametrize(("name", "arguments"), cases(POINT_OPERATIONS))
def test_colours_are_pillows_to_the_bit(name, arguments):
    for seed, size in enumerate(SIZES):
        image = picture(*size, seed)
        np.testing.assert_array_equal(ours(name, image, arguments), timms(name, image, arguments))


@pytest.mark.parametrize(("name", "arguments"), cases(MOVING_OPERATIONS))
def test_moved_pixels_are_pillows_to_one_level_in_a_few_thousand(name, arguments):
    for seed, size in enumerate(SIZES):
        image = picture(*size, seed)
        found = ours(name, image, arguments).astype(int)
        difference = np.abs(found - timms(name, image, arguments))
        assert difference.max() <= 1
        assert difference.mean() < 0.005


@pytest.mark.parametrize("name", ["auto_contrast", "equalize", "contrast", "rotate"])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_picture_of_one_colour_is_no_special_case(name, level):
    image = np.full((20, 30, 3), level, np.uint8)
    image[..., 1] = 9
    arguments = {"contrast": (1.5,), "rotate": (21.0,)}.get(name, ())
    np.testing.assert_array_equal(ours(name, image, arguments), timms(name, image, arguments))


def test_a_channel_of_two_levels_is_stretched_and_equalized():
    image = np.zeros((16, 16, 3), np.uint8) + np.uint8([10, 200, 3])
    image[:5] += 40
    for name in ("auto_contrast", "equalize"):
        np.testing.assert_array_equal(ours(name, image, ()), timms(name, image, ()))


def test_keeping_no_bits_is_black():
    assert not ours("posterize", picture(8, 8), (0,)).any()
