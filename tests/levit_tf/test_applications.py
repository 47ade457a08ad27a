"""Names of Keras models in commands: a file, a run's folder, or a variant with weights."""

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.applications import load_by_name


@pytest.fixture
def saved(tmp_path):
    """A LeViT in train form, as the folder of a run."""
    model = levit_tf.LeViT("LeViTNano", weights=None, input_shape=(32, 32, 3), classes=3)
    model.save(tmp_path / "final.keras")
    return model


@pytest.mark.parametrize("name", ["final.keras", "."])
def test_a_file_and_the_folder_of_its_run_are_the_network_that_was_saved(saved, tmp_path, name):
    loaded = load_by_name(tmp_path / name)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(loaded.predict_on_batch(images), saved.predict_on_batch(images))


@pytest.mark.parametrize("name", ["LeViTMini", "levit_mini"])
def test_a_variant_stands_for_the_weights_that_come_with_the_package(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = levit_tf.model_properties(load_by_name(name))
    assert found.origin == "LeViTMini trained on Imagenette"
    assert "tench" in found.class_names


def test_a_folder_of_the_name_of_a_variant_has_priority(saved, tmp_path, monkeypatch):
    (tmp_path / "LeViTMini").mkdir()
    (tmp_path / "final.keras").rename(tmp_path / "LeViTMini" / "final.keras")
    monkeypatch.chdir(tmp_path)
    assert load_by_name("LeViTMini").output_shape == (None, 3)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("LeViT265", ValueError, r"LeViT265: no such file, and no .* Did you mean 'LeViT256'\?"),
        ("LeViTNano", ValueError, "a variant without weights.*LeViT256, LeViT384, LeViTMini"),
        ("levit256.keras", FileNotFoundError, "levit256.keras: no such file. Expected a .keras"),
        ("runs/LeViT256", FileNotFoundError, "runs/LeViT256: no such file"),
    ],
)
def test_a_name_of_nothing_is_refused(name, error, message):
    with pytest.raises(error, match=message):
        load_by_name(name)


def test_another_network_is_no_train_form(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    load_by_name(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=r"other.keras: "):
        load_by_name(tmp_path / "other.keras", train_form=True)
