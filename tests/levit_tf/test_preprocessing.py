"""The evaluation protocol equals torchvision's on Pillow images, on arrays and in TF graphs."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from levit_tf.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    denormalize,
    preprocess_input,
    resize_and_center_crop,
)
from tests.support.commands import ENVIRONMENT

SOURCES = [(300, 400), (400, 300), (100, 80), (225, 1000), (37, 501), (256, 256), (1, 1), (3, 2)]
SIZES = [(224, 224), (224, 320), (240, 208), (64, 64), (32, 32)]


def picture(height, width, seed=0):
    """Soft colours with hard-edged blocks and noise: what resizing gets wrong most visibly."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width][..., None]
    soft = 127 + 120 * np.sin(x / 17 + np.arange(3)) * np.cos(y / 23)
    blocks = 255 * ((x // 7 + y // 5) % 2)
    noise = rng.integers(0, 256, (height, width, 3))
    return np.where(x % 90 < 50, soft, np.where(y % 60 < 40, blocks, noise)).astype(np.uint8)


def torchvision_protocol(image, size):
    """Resize and CenterCrop of torchvision, written with Pillow alone."""
    height, width = image.shape[:2]
    margin = 256 / 224 if max(size) > 32 else 1
    cover_height, cover_width = int(margin * size[0]), int(margin * size[1])
    if cover_height / height >= cover_width / width:
        resized = cover_height, int(cover_height * width / height)
    else:
        resized = int(cover_width * height / width), cover_width
    pixels = Image.fromarray(image).resize(resized[::-1], Image.Resampling.BICUBIC)
    top = round((resized[0] - size[0]) / 2.0)
    left = round((resized[1] - size[1]) / 2.0)
    return np.asarray(pixels)[top : top + size[0], left : left + size[1]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("source", SOURCES)
def test_resizing_equals_pillow(source, size):
    image = picture(*source)
    result = resize_and_center_crop(image, size)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    assert result.shape == (*size, 3)
    difference = np.abs(result - torchvision_protocol(image, size))
    assert difference.max() <= 2
    assert np.mean(difference > 1) < 1e-4
    assert difference.mean() < 0.01


def test_values_are_whole_grey_levels():
    result = resize_and_center_crop(picture(123, 234), (64, 64))
    np.testing.assert_array_equal(result, np.round(result))
    assert result.min() >= 0
    assert result.max() <= 255


def test_small_pictures_of_the_right_size_pass_unchanged():
    image = picture(32, 32)
    np.testing.assert_array_equal(resize_and_center_crop(image, (32, 32)), image)


def test_the_margin_is_that_of_the_reference_for_every_size():
    sizes = np.arange(1, 4096)
    np.testing.assert_array_equal((256 / 224 * sizes).astype(int), sizes * 256 // 224)


def test_a_picture_of_extreme_aspect_costs_no_memory():
    # In full it would be resized to 256 x 5,120,000 pixels.
    result = resize_and_center_crop(np.full((1, 20_000, 3), 77, np.uint8), (224, 224))
    np.testing.assert_array_equal(result, 77)


def test_grey_pictures_and_floats_are_resized_too():
    image = picture(90, 120)
    colour = resize_and_center_crop(image, (64, 64))
    grey = resize_and_center_crop(image[..., :1].astype(np.float64), (64, 64))
    np.testing.assert_array_equal(grey, colour[..., :1])


def test_a_tensor_gives_a_tensor():
    image = picture(90, 120)
    result = resize_and_center_crop(keras.ops.convert_to_tensor(image), (64, 64))
    assert keras.ops.is_tensor(result)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(result), resize_and_center_crop(image, (64, 64))
    )


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((2, 30, 30, 3), (64, 64), r"one image .* Received: shape \(2, 30, 30, 3\)"),
        ((30, 30), (64, 64), r"Received: shape \(30, 30\)"),
        ((0, 30, 3), (64, 64), "at least one pixel"),
        ((30, 30, 3), (64, 0), r"positive integers. Received: \(64, 0\)"),
        ((30, 30, 3), (64, 64.5), r"positive integers. Received: \(64, 64.5\)"),
        ((30, 30, 3), (64, 64, 3), r"size must be \(height, width\)"),
    ],
)
def test_what_cannot_be_resized_is_refused(shape, size, message):
    with pytest.raises(ValueError, match=message):
        resize_and_center_crop(np.zeros(shape, np.uint8), size)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs of TensorFlow")
class TestInTensorFlowGraphs:
    images = tuple(picture(*source) for source in ((300, 400), (100, 80), (64, 64)))

    def test_tf_data_takes_pictures_of_differing_sizes(self):
        import tensorflow as tf

        signature = tf.TensorSpec([None, None, 3], tf.uint8)
        dataset = tf.data.Dataset.from_generator(lambda: self.images, output_signature=signature)
        dataset = dataset.map(lambda image: resize_and_center_crop(image, (64, 96))).batch(3)
        (batch,) = list(dataset)
        expected = np.stack([resize_and_center_crop(image, (64, 96)) for image in self.images])
        np.testing.assert_allclose(batch, expected, atol=1)  # another order of adding up
        assert np.mean(batch != expected) < 1e-3

    def test_one_graph_serves_all_sizes_up_to_normalised_pixels(self):
        import tensorflow as tf

        @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
        def serve(image):
            return preprocess_input(resize_and_center_crop(image, (64, 64)))

        for image in self.images:
            expected = preprocess_input(resize_and_center_crop(image, (64, 64)))
            result = serve(image).numpy()
            assert result.shape == (64, 64, 3)
            np.testing.assert_allclose(result, expected, atol=1.01 / 255 / min(IMAGENET_STD))
            assert np.mean(np.abs(result - expected) > 1e-5) < 1e-3


IN_TF_DATA = """
import levit_tf, numpy as np, tensorflow as tf
images = np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3)
data = tf.data.Dataset.from_tensor_slices(images).map(levit_tf.preprocess_input)
(found,) = data.as_numpy_iterator()
np.testing.assert_allclose(found, levit_tf.preprocess_input(images)[0], atol=1e-6)
"""


@pytest.mark.slow
def test_tf_data_normalises_on_another_backend():
    environment = {**ENVIRONMENT, "KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, "-c", IN_TF_DATA], env=environment, check=True)


def normalised(x):
    return (np.asarray(x, np.float64) / 255 - IMAGENET_MEAN) / IMAGENET_STD


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(8, 9, 3), (2, 8, 9, 3)])
def test_pixels_are_normalised_whatever_their_type(shape, dtype):
    x = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    before = x.copy()
    result = preprocess_input(x)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, normalised(x), atol=1e-6)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
def test_tensors_are_normalised_to_float32_tensors(dtype):
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3))
    result = preprocess_input(keras.ops.cast(keras.ops.convert_to_tensor(x), dtype))
    assert keras.ops.is_tensor(result)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(result), normalised(x), atol=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, keras.ops.convert_to_tensor])
def test_denormalised_pixels_are_those_of_before(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3)).astype("float32")
    found = denormalize(preprocess_input(kind(pixels)))
    assert keras.ops.is_tensor(found) == (kind is not np.asarray)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), pixels, atol=1e-4)


def test_channels_may_come_first():
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3))
    first = preprocess_input(x.transpose(0, 3, 1, 2), data_format="channels_first")
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), preprocess_input(x))


def test_one_channel_is_normalised_by_the_average_constants():
    x = np.full((4, 4, 1), 255 * np.mean(IMAGENET_MEAN) + 255 * np.mean(IMAGENET_STD))
    np.testing.assert_allclose(preprocess_input(x), np.ones((4, 4, 1)), atol=1e-5)


def test_normalisation_can_be_part_of_a_model():
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(inputs, preprocess_input(inputs))
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(model.predict_on_batch(x), preprocess_input(x), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "data_format", "message"),
    [
        ((8, 9), None, r"Received: shape \(8, 9\)"),
        ((8, 9, 4), None, r"3 channels or 1. Received: shape \(8, 9, 4\)"),
        ((1, 2, 8, 9, 3), None, r"Received: shape \(1, 2, 8, 9, 3\)"),
        ((8, 9, 3), "channels_first", "with data_format='channels_first'"),
        ((8, 9, 3), "NHWC", "Received: data_format='NHWC'"),
    ],
)
def test_what_cannot_be_normalised_is_refused(shape, data_format, message):
    with pytest.raises(ValueError, match=message):
        preprocess_input(np.zeros(shape), data_format=data_format)
