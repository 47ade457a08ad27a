"""The embedded data set: real pictures, always split in the same way."""

import sys

import numpy as np
import pytest

from levit_tf.pictures import digits


@pytest.fixture(scope="module")
def data():
    return digits.load_data()


def test_pictures_are_plain_rgb_of_the_smallest_network(data):
    for images, labels in data:
        assert images.dtype == np.uint8
        assert images.shape == (len(labels), 32, 32, 3)
        assert (images.min(), images.max()) == (0, 255)
        np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_every_image_is_in_one_part(data):
    from sklearn.datasets import load_digits

    (train, train_labels), (test, test_labels) = data
    assert (len(train), len(test)) == (1437, 360)
    labels = np.concatenate([train_labels, test_labels])
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(load_digits().target))


def test_the_split_is_stratified_and_fixed(data):
    (_, train_labels), (test, test_labels) = data
    share = np.bincount(test_labels) / (np.bincount(train_labels) + np.bincount(test_labels))
    assert np.abs(share - 0.2).max() < 0.01
    again = digits.load_data()[1]
    np.testing.assert_array_equal(test, again[0])
    np.testing.assert_array_equal(test_labels, again[1])
    assert test_labels[:8].tolist() == [7, 6, 3, 7, 7, 3, 2, 8]


def test_a_missing_scikit_learn_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "levit_tf\[train\]"'):
        digits.load_data()
