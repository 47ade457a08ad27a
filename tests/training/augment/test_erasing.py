"""Random erasing: rectangles of timm's distribution, filled with unit noise."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.training.timm_data import timm_data
from training.augment import erasing

DRAWS = 10_000
SIZE = (224, 192)


@pytest.fixture(scope="module")
def rectangles():
    dataset = tf.data.Dataset.range(DRAWS).map(
        lambda index: erasing.draw_rectangle(tf.stack([3, index]), *SIZE)
    )
    return next(iter(dataset.batch(DRAWS))).numpy()


class Recorder:
    """In place of timm's image: remembers where it was erased."""

    def __setitem__(self, place, noise):
        _, rows, columns = place
        sides = (rows.stop - rows.start, columns.stop - columns.start)
        self.rectangle = (rows.start, columns.start, *sides)


def timms_rectangles(count):
    import torch

    erase = timm_data().random_erasing.RandomErasing(1.0, mode="const", device="cpu")
    found = []
    for _ in range(count):
        image = Recorder()
        erase._erase(image, 3, *SIZE, torch.float32)
        found.append(image.rectangle)
    return np.array(found)


def test_rectangles_lie_inside_the_image(rectangles):
    low, sides = rectangles[:, :2], rectangles[:, 2:]
    assert (low >= 0).all()
    assert (low + sides <= SIZE).all()
    assert (sides > 0).all()
    assert (sides < SIZE).all()


def test_rectangles_are_distributed_as_timms(rectangles):
    expected = timms_rectangles(DRAWS)
    for found, reference in zip(rectangles.T, expected.T, strict=True):
        quantiles = np.linspace(0.05, 0.95, 19)
        np.testing.assert_allclose(
            np.quantile(found, quantiles), np.quantile(reference, quantiles), atol=6
        )


def test_a_quarter_of_the_images_is_erased():
    chosen = tf.data.Dataset.range(4000).map(
        lambda index: tf.reduce_any(
            erasing.random_erasing(tf.fill([16, 16, 3], 9.0), tf.stack([1, index])) != 9.0
        )
    )
    assert next(iter(chosen.batch(4000))).numpy().mean() == pytest.approx(0.25, abs=0.03)


def test_noise_has_unit_variance_and_differs_between_pixels_and_channels():
    image = tf.fill([224, 224, 3], 9.0)
    erased = erasing.erase(image, tf.constant([20, 30, 150, 90]), tf.constant([1, 2])).numpy()
    noise = erased[20:170, 30:120]
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert len(np.unique(noise)) > 0.99 * noise.size
    erased[20:170, 30:120] = 9
    np.testing.assert_array_equal(erased, image)


def test_an_image_too_small_for_any_rectangle_stays_as_it_is():
    rectangle = erasing.draw_rectangle(tf.constant([0, 0]), 1, 1)
    image = tf.fill([1, 1, 3], 9.0)
    np.testing.assert_array_equal(erasing.erase(image, rectangle, tf.constant([0, 0])), image)
