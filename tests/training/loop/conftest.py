"""A network that several tests of the loop begin with, or learn from."""

import pytest

import levit_tf
from tests.support.randomize import randomize_keras


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A LeViT of five classes and two heads."""
    path = tmp_path_factory.mktemp("weights") / "pretrained.keras"
    model = levit_tf.LeViT("LeViTTiny", classes=5)
    randomize_keras(model)
    model.save(path)
    return path
