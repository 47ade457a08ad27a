"""A model knows what it takes and what it says, wherever its weights go."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import levit_tf
from levit_lite.class_names import imagenet_class_names
from levit_tf import model_properties, with_properties
from levit_tf.keras_graph.notes import note_layer, read_note
from levit_tf.preprocessing import INPUT_RANGES, InputRange, preprocess_input
from tests.support import keras_habits
from tests.support.cases import slow
from tests.support.keras_habits import NAMES

ORIGIN = "trained by hand, 100 % / day"


@functools.cache
def levit() -> keras.Model:
    """A network of three classes, for tests that do not change it."""
    return keras_habits.levit(classes=3)


@functools.cache
def noted() -> keras.Model:
    """The same with names of its classes and where it comes from."""
    return with_properties(levit(), class_names=NAMES, origin=ORIGIN)


def reload(model: keras.Model, path) -> keras.Model:
    model.save(path)
    return keras.models.load_model(path)


def assert_knows(model, names=tuple(NAMES), origin=ORIGIN):
    found = model_properties(model)
    assert found.input_range == INPUT_RANGES["normalized"]
    assert (found.input_size, found.channels) == ((32, 32), 3)
    assert found.class_names == names
    assert found.origin == origin


@pytest.mark.parametrize(
    "texts", [[], ["a"], ["a-b", "c_d", ""], ["Käfer", "魚/\\:*?", " x "], ["-", "_", "__5f"]]
)
def test_a_note_keeps_any_text(texts):
    layer = note_layer("classes", texts)
    assert read_note(layer) == texts
    assert set(layer.name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
    )


@pytest.mark.slow
def test_properties_survive_saving_and_fusing(tmp_path):
    model = reload(noted(), tmp_path / "train.keras")
    assert_knows(model)
    fused = reload(levit_tf.fuse(model), tmp_path / "fused.keras")
    assert_knows(fused)
    assert_knows(reload(fused, tmp_path / "again.keras"))


@pytest.mark.slow
def test_properties_survive_a_save_where_this_package_is_not_installed(tmp_path):
    levit_tf.fuse(noted()).save(tmp_path / "fused.keras")
    code = (
        "import sys, keras; sys.modules['levit_tf'] = None\n"
        "model = keras.models.load_model('fused.keras'); model.save('again.keras')"
    )
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert_knows(keras.models.load_model(tmp_path / "again.keras"))


def test_a_note_changes_nothing_that_is_computed():
    model = levit()
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    changed = with_properties(model, class_names=NAMES, origin=ORIGIN, input_range="unit")
    np.testing.assert_array_equal(changed(x), model(x))


def test_layers_of_a_noted_model_belong_to_it():
    model = noted()
    features = levit_tf.feature_extractor(model)
    assert features.input is model.input


@pytest.mark.parametrize("heads", ["both", slow("single"), slow("average")])
def test_other_uses_of_the_heads_keep_the_names(heads):
    model = levit_tf.with_heads(noted(), heads)
    assert_knows(model)
    assert_knows(levit_tf.fuse(model))


def test_new_classes_have_no_names_but_those_given():
    assert_knows(levit_tf.reset_classifier(noted(), 3), names=None)
    assert_knows(levit_tf.reset_classifier(noted(), ["x", "y"]), names=("x", "y"))
    assert levit_tf.reset_classifier(noted(), ["x", "y"]).output.shape == (None, 2)


def test_transferred_weights_bring_their_properties():
    target = levit_tf.LeViT("LeViTTiny", classes=3)
    levit_tf.transfer_weights(noted(), target)
    assert_knows(target)


def test_transfer_to_other_classes_brings_no_names():
    target = levit_tf.LeViT("LeViTTiny", classes=4)
    levit_tf.transfer_weights(noted(), target)
    assert_knows(target, names=None)


def test_transfer_into_a_model_with_preprocessing_says_that_it_takes_pixels():
    pixels = keras.Input((32, 32, 3))
    target = levit_tf.LeViT("LeViTTiny", input_tensor=preprocess_input(pixels), classes=3)
    levit_tf.transfer_weights(noted(), target)
    found = model_properties(target)
    assert found.input_range == INPUT_RANGES["pixels"]
    assert found.class_names == tuple(NAMES)


@pytest.mark.slow
def test_weights_of_a_file_bring_their_properties(tmp_path):
    noted().save(tmp_path / "m.keras")
    model = levit_tf.LeViT("LeViTTiny", classes=3, weights=tmp_path / "m.keras")
    assert_knows(model)


def test_names_are_of_the_output_that_they_were_given_to():
    assert model_properties(keras_habits.dense_behind()).class_names is None
    assert model_properties(keras_habits.two_outputs()).class_names == tuple(NAMES)


def test_imagenet_names_are_noted_by_their_name(tmp_path):
    names = imagenet_class_names()
    model = with_properties(levit_tf.LeViT("LeViTTiny"), class_names=names)
    assert model_properties(model).class_names == tuple(names)
    assert max(len(layer.name) for layer in model.layers) < 80
    assert model_properties(levit_tf.LeViT("LeViTTiny")).class_names is None


def test_imagenet_names_are_of_the_output_that_is_noted():
    model = with_properties(levit_tf.LeViT("LeViTTiny"), class_names=imagenet_class_names())
    outputs = {"scores": model.output, "embedding": model.get_layer("pre_logits").output}
    found = model_properties(keras.Model(model.input, outputs))
    assert found.class_names == tuple(imagenet_class_names())


def test_a_single_output_has_two_names():
    model = with_properties(keras_habits.yes_or_no(), class_names=["no", "yes"])
    assert model_properties(model).class_names == ("no", "yes")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a", "b"], "2 class names for a model of 3"), (["a", "", "c"], "not empty")],
)
def test_wrong_names_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        with_properties(levit(), class_names=names)


def test_an_unknown_range_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="pixels, unit, symmetric, normalized"):
        with_properties(levit(), input_range="percent")


@pytest.mark.slow
def test_a_range_of_ones_own_is_kept(tmp_path):
    own = InputRange((0.1, 0.2, 0.3, 0.4), (1.0, 2.0, 3.0, 4.0))
    model = keras_habits.levit(classes=3, input_shape=(32, 32, 4))
    assert model_properties(model).input_range is None
    model = reload(with_properties(model, input_range=own), tmp_path / "m.keras")
    assert model_properties(model).input_range == own


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (keras.applications.MobileNetV2, None),
        slow(keras.applications.MobileNetV3Small, "pixels"),
        slow(keras.applications.EfficientNetB0, "pixels"),
    ],
)
def test_other_networks_are_read_by_what_they_begin_with(build, expected):
    found = model_properties(build(weights=None, input_shape=(32, 32, 3), classes=3)).input_range
    assert found == (expected and INPUT_RANGES[expected])


@pytest.mark.parametrize("name", INPUT_RANGES)
def test_a_range_says_what_becomes_of_pixels(name):
    pixels = np.arange(0, 252, 7, dtype=np.uint8).reshape(1, 3, 4, 3)
    expected = {
        "pixels": pixels.astype(np.float32),
        "unit": pixels / np.float32(255),
        "symmetric": pixels / np.float32(127.5) - 1,
        "normalized": preprocess_input(pixels),
    }[name]
    np.testing.assert_allclose(INPUT_RANGES[name].of_pixels(pixels), expected, atol=1e-6)
