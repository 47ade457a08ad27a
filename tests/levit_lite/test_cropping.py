"""Pillow's own resizing and cropping is torchvision's, whatever the aspect."""

import numpy as np
import pytest
from PIL import Image

from levit_lite.cropping import resize_and_center_crop
from tests.levit_tf.test_preprocessing import SIZES, SOURCES, picture, torchvision_protocol


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("source", SOURCES)
def test_resizing_is_torchvisions(source, size):
    image = picture(*source)
    result = resize_and_center_crop(Image.fromarray(image), size)
    np.testing.assert_array_equal(result, torchvision_protocol(image, size))


@pytest.mark.parametrize("source", [(10, 3000), (4001, 9), (7, 12345)])
def test_of_extreme_aspects_the_middle_is_nearly_the_same(source):
    image = picture(*source)
    result = resize_and_center_crop(Image.fromarray(image), (224, 224)).astype(int)
    difference = np.abs(result - torchvision_protocol(image, (224, 224)))
    assert difference.max() <= 10
    assert difference.mean() < 0.1


def test_a_picture_of_one_pixels_height_costs_no_memory():
    image = Image.new("RGB", (40_000_000, 1), (9, 8, 7))  # 31 TB, resized as a whole
    assert (resize_and_center_crop(image, (224, 224)) == (9, 8, 7)).all()
