"""Calibration pictures: those that were asked for, never others."""

import numpy as np
import pytest
from PIL import Image

from converters.tflite.calibration import calibration_images
from levit_common.arrays import luma
from levit_tf.pictures import digits


def test_they_are_spread_over_the_training_digits():
    images = calibration_images("digits", (32, 32))
    (train, labels), _ = digits.load_data()
    assert images.shape == (128, 32, 32, 3)
    flat = {image.tobytes(): label for image, label in zip(train, labels, strict=True)}
    assert {flat[image.tobytes()] for image in images} == set(range(10))


def test_they_are_different_parts_of_photographs_of_the_size_asked_for():
    images = calibration_images("photographs", (48, 64))
    assert images.shape == (40, 48, 64, 3)
    assert len({image.tobytes() for image in images}) == 40
    assert images.min() == 0
    assert images.max() == 255


def test_they_are_the_pictures_of_a_folder(tmp_path):
    (tmp_path / "class").mkdir()
    Image.new("RGB", (70, 50), (10, 200, 30)).save(tmp_path / "class" / "a.png")
    images = calibration_images(f"imagefolder:{tmp_path}", (32, 48))
    assert images.shape == (1, 32, 48, 3)
    np.testing.assert_array_equal(images[0, 5, 5], [10, 200, 30])


def test_held_out_pictures_of_a_folder_are_left_alone(tmp_path, capsys):
    for part, colour in (("Train", (10, 200, 30)), ("val", (250, 0, 0))):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), colour).save(tmp_path / part / name / "1.png")
    images = calibration_images(f"imagefolder:{tmp_path}", (32, 32))
    np.testing.assert_array_equal(images[:, 5, 5], [[10, 200, 30]] * 2)
    assert f"2 of 2 pictures in {tmp_path / 'Train'}" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["digits", "photographs"])
def test_networks_of_one_channel_get_the_brightness(source):
    colours = calibration_images(source, (32, 32, 3))
    grey = calibration_images(source, (32, 32, 1))
    np.testing.assert_array_equal(grey, luma(colours))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("noise", "Unknown calibration data 'noise'. Expected digits, photographs"),
        ("imagefolder:/no/such/folder", "no such folder"),
    ],
)
def test_wrong_sources_are_named(source, message):
    with pytest.raises(ValueError, match=message):
        calibration_images(source, (32, 32))


def test_digits_do_not_calibrate_networks_of_another_size():
    with pytest.raises(ValueError, match=r"32x32 pixels; this one takes 224x224. Use photographs"):
        calibration_images("digits", (224, 224))


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(ValueError, match="no pictures in"):
        calibration_images(f"imagefolder:{tmp_path}", (32, 32))
