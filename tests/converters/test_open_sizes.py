"""Networks for every size, and attention in windows, in the formats that are shipped."""

import functools
import json

import keras
import numpy as np
import pytest

import levit_tf
from converters.onnx.conversion import to_onnx
from converters.saved_model.conversion import to_saved_model
from converters.tflite.conversion import to_tflite
from converters.tflite.several_sizes import to_tflite_of_sizes
from levit_tf.prediction.network_files import read_network
from tests.support.cases import slow
from tests.support.randomize import random_images, randomize_keras

SIZES = [(64, 64), (96, 160)]


@functools.cache
def _trained():
    model = levit_tf.LeViT("LeViTNano", classes=5)
    randomize_keras(model)
    return model


@functools.cache
def _in_windows():
    model = levit_tf.LeViT("LeViTNano", input_shape=(None, None, 3), classes=5, attention_window=4)
    levit_tf.transfer_weights(_trained(), model)
    return model


def _pixels(size, count=1):
    return (random_images(size, count) * 40 + 128).clip(0, 255).astype(np.float32)


def _probabilities(model, pixels):
    normalized = levit_tf.preprocess_input(pixels)
    return keras.ops.convert_to_numpy(model(normalized, training=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("convert", "name", "kind"),
    [
        (to_saved_model, "saved_model", "plain"),
        (to_onnx, "levit.onnx", "plain"),
        (to_saved_model, "saved_model", "windows"),
        (to_onnx, "levit.onnx", "windows"),
    ],
)
def test_an_export_for_every_size_answers_as_keras_at_each(convert, name, kind, tmp_path):
    model = _in_windows() if kind == "windows" else levit_tf.with_input_size(_trained(), None)
    assert convert(model, tmp_path / name) <= 1e-5
    network = read_network(tmp_path / name)
    assert network.input_shape == (None, None, None, 3)
    for size in (*SIZES, (112, 48)):
        found = network.outputs(_pixels(size, 3))["probabilities"]
        np.testing.assert_allclose(found, _probabilities(model, _pixels(size, 3)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("convert", "name", "message"),
    [
        (to_saved_model, "saved_model", "multiples of 16, got the shape"),
        slow(to_onnx, "levit.onnx", "sides_are_multiples_of_16"),
    ],
)
def test_an_export_for_every_size_says_which_sides_fit(convert, name, message, tmp_path):
    convert(levit_tf.with_input_size(_trained(), None), tmp_path / name)
    with pytest.raises(ValueError, match=f"cannot be run.*{message}"):
        read_network(tmp_path / name).outputs(_pixels((72, 64), 8))


@pytest.mark.slow
def test_one_tflite_file_has_a_signature_for_each_size_and_the_weights_once(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "levit.tflite"
    about = to_tflite_of_sizes(_trained(), path, SIZES)
    assert list(about["signatures"]) == ["serving_default", "serving_default_96x160"]
    assert json.loads((tmp_path / "levit.tflite.json").read_text())["bytes"] == about["bytes"]
    interpreter = Interpreter(model_path=str(path))
    model = levit_tf.with_input_size(_trained(), None)
    for size, name in zip(SIZES, about["signatures"], strict=True):
        found = interpreter.get_signature_runner(name)(images=_pixels(size))["probabilities"]
        np.testing.assert_allclose(found, _probabilities(model, _pixels(size)), atol=1e-5)
    to_tflite(_trained(), tmp_path / "one.tflite")
    # Of so small a network the graphs, which are not shared, take a quarter.
    assert about["bytes"] < 1.5 * (tmp_path / "one.tflite").stat().st_size
    assert len(read_network(path).class_names) == 5


@pytest.mark.slow
def test_sizes_of_a_tflite_file_are_checked(tmp_path):
    with pytest.raises(ValueError, match="sizes that differ"):
        to_tflite_of_sizes(_trained(), tmp_path / "x.tflite", [(64, 64), (64, 64)])
    with pytest.raises(ValueError, match="height must be a positive multiple"):
        to_tflite_of_sizes(_trained(), tmp_path / "x.tflite", [(64, 64), (60, 64)])
    with pytest.raises(ValueError, match="with_input_size fixes it"):
        to_tflite(levit_tf.with_input_size(_trained(), None), tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp32", "int8"])
def test_windows_are_one_partition_of_xnnpack(recipe, tmp_path):
    from converters.reporting.report_graph import read_tflite

    model = levit_tf.with_input_size(_in_windows(), (112, 144))
    images = _pixels((112, 144), 16) if recipe == "int8" else None
    path = tmp_path / "windows.tflite"
    about = to_tflite(model, path, recipe=recipe, calibration_images=images)
    content = read_tflite(path)
    assert content.partitions == 1
    assert {op.partition for op in content.ops} == {0}
    assert about["compared_with_keras"]["same_top1"] >= 0.5
