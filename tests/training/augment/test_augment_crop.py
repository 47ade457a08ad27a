"""Crop and flip against Pillow and timm; the whole pipeline as a function of its seed."""

import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from levit_tf.preprocessing import preprocess_input
from tests.support.training.augment_cases import picture
from tests.support.training.timm_data import timm_data
from training.augment import (
    AugmentationSettings,
    augment_encoded,
    augment_image,
    crop,
    example_seed,
)

SETTINGS = AugmentationSettings(size=(64, 48))
PLAIN = AugmentationSettings(size=(64, 48), operations=0, erasing=0.0, flip=0.0)
SMALL = AugmentationSettings(size=(32, 32))


@functools.cache
def traced(settings):
    """The pipeline for decoded pictures of any size, traced once for all tests."""
    return tf.function(
        lambda image, seed: augment_image(image, seed, settings),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([2], tf.int64)],
    )


@functools.cache
def traced_encoded(settings):
    """The same for the contents of files."""
    return tf.function(
        lambda contents, seed: augment_encoded(contents, seed, settings),
        input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64)],
    )


def encoded(image, kind):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (20, 20), (64, 48), (90, 71), (300, 401)])
@pytest.mark.parametrize("flip", [False, True])
def test_resizing_is_pillows(size, flip):
    image = picture(*size) if min(size) > 4 else np.full((*size, 3), 77, np.uint8)
    found = crop.resize(tf.constant(image), (64, 48), flip).numpy()
    expected = np.asarray(Image.fromarray(image).resize((48, 64), Image.Resampling.BICUBIC))
    difference = np.abs(found.astype(int) - (expected[:, ::-1] if flip else expected))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_boxes_are_distributed_as_timms(monkeypatch):
    transforms = timm_data().transforms
    monkeypatch.setattr(transforms, "F", type("F", (), {"get_image_size": lambda image: image}))
    get_params = transforms.RandomResizedCropAndInterpolation.get_params
    quantiles = np.linspace(0.05, 0.95, 19)
    for height, width in ((375, 500), (500, 150)):  # in the second, the fallback is common
        expected = np.array(
            [get_params((width, height), (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)]
        )
        boxes = tf.data.Dataset.range(4000).map(
            lambda index, size=(height, width): crop.draw_box(tf.stack([2, index]), *size)
        )
        found = next(iter(boxes.batch(4000))).numpy()
        assert (found[:, :2] >= 0).all()
        assert (found[:, :2] + found[:, 2:] <= (height, width)).all()
        for ours, timms in zip(found.T, expected.T, strict=True):
            np.testing.assert_allclose(
                np.quantile(ours, quantiles), np.quantile(timms, quantiles), atol=0.045 * height
            )


@pytest.mark.parametrize("size", [(10, 100), (100, 10), (40, 60)])
def test_a_box_that_never_fits_falls_back_to_the_middle(size, monkeypatch):
    transforms = timm_data().transforms
    monkeypatch.setattr(transforms, "F", type("F", (), {"get_image_size": lambda image: image}))
    too_large = (4.0, 4.0)
    expected = transforms.RandomResizedCropAndInterpolation.get_params(
        size[::-1], too_large, (3 / 4, 4 / 3)
    )
    assert crop.draw_box(tf.constant([0, 0]), *size, scale=too_large).numpy().tolist() == [
        *expected
    ]


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 1)])
def test_a_box_of_a_picture_of_few_pixels_has_a_pixel(size):
    boxes = tf.data.Dataset.range(200).map(lambda index: crop.draw_box(tf.stack([0, index]), *size))
    found = next(iter(boxes.batch(200))).numpy()
    assert (found[:, 2:] >= 1).all()
    assert (found[:, :2] >= 0).all()
    assert (found[:, :2] + found[:, 2:] <= size).all()


def test_half_of_the_images_are_flipped():
    flips = tf.data.Dataset.range(4000).map(lambda index: crop.draw_flip(tf.stack([1, index])))
    assert next(iter(flips.batch(4000))).numpy().mean() == pytest.approx(0.5, abs=0.03)


def test_only_the_crop_of_a_jpeg_is_decoded_with_the_same_pixels():
    for seed, size in enumerate([(97, 131), (60, 41)]):
        contents = encoded(picture(*size, seed), "JPEG")
        whole = np.asarray(Image.open(io.BytesIO(contents)))
        for top, left, height, width in ((0, 0, *size), (7, 9, 33, 21), (20, 3, 40, 38)):
            box = tf.constant([top, left, height, width])
            found = crop.decode_box(tf.constant(contents), lambda *_, box=box: box)
            expected = whole[top : top + height, left : left + width]
            np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_encoded_pictures_give_what_decoded_ones_give(kind):
    contents = encoded(picture(90, 120), kind)
    image = tf.constant(np.asarray(Image.open(io.BytesIO(contents))))
    for index in range(6):
        seed = example_seed(0, 1, index)
        np.testing.assert_array_equal(
            traced_encoded(SETTINGS)(tf.constant(contents), seed),
            traced(SETTINGS)(image, seed),
        )


def test_without_its_random_parts_the_pipeline_crops_resizes_and_normalises():
    image, seed = tf.constant(picture(90, 120)), example_seed(1, 2, 3)
    whole = AugmentationSettings(
        size=(60, 80), operations=0, erasing=0.0, flip=0.0, scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3)
    )
    expected = preprocess_input(crop.resize(image, (60, 80)), data_format="channels_last")
    np.testing.assert_allclose(augment_image(image, seed, whole), expected, atol=1e-6)


def test_small_pictures_are_shifted_by_up_to_the_padding():
    image = tf.fill([32, 32, 3], tf.constant(255, tf.uint8))
    tops = {
        int(np.argmax(crop.padded_crop(image, tf.constant([0, index]))[:, 16, 0]))
        for index in range(60)
    }
    assert tops == {0, 1, 2, 3, 4}
    settings = AugmentationSettings(size=(32, 32), operations=0, erasing=0.0)
    found = augment_image(image, example_seed(0, 0, 1), settings)
    assert found.shape == (32, 32, 3)
    assert len(np.unique(found[..., 0])) == 2  # white and the border


def augmented(order, parallel, settings, images):
    def example(index):
        return index, traced(settings)(images[index % 4], example_seed(3, 1, index))

    dataset = tf.data.Dataset.from_tensor_slices(np.array(order, np.int64))
    return {
        int(index): image.numpy()
        for index, image in dataset.map(example, num_parallel_calls=parallel, deterministic=False)
    }


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SETTINGS, SMALL], ids=["crop", "shift"])
def test_an_example_is_the_same_whatever_the_order_and_the_parallelism(settings):
    side = (80, 90) if settings is SETTINGS else (32, 32)
    images = tf.constant(np.stack([picture(*side, seed) for seed in range(4)]))
    forwards = augmented(range(24), 1, settings, images)
    backwards = augmented(range(23, -1, -1), 4, settings, images)
    for index, image in forwards.items():
        np.testing.assert_array_equal(image, backwards[index])


def test_seed_epoch_and_index_each_change_the_example():
    image = tf.constant(picture(80, 90))
    found = [
        augment_image(image, example_seed(*numbers), PLAIN).numpy()
        for numbers in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert not any(np.array_equal(found[a], found[b]) for a in range(4) for b in range(a))


@pytest.mark.slow
def test_pictures_of_unknown_and_of_any_size_are_taken():
    for size in ((1, 1), (2, 500), (33, 20), (480, 640)):
        image = tf.fill([*size, 3], tf.constant(9, tf.uint8))
        found = traced(SETTINGS)(image, example_seed(0, 0, 5))
        assert found.shape == (64, 48, 3)
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [("flip", 1.5), ("operations", -1), ("size", (2, 9)), ("scale", (0.5, 0.1)), ("magnitude", 11)],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        AugmentationSettings(**{field: value})
