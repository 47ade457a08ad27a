"""What leaves the package is what the user's model says, whatever stands around the LeViT."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

import levit_tf
from converters.deploy import deploy_graph
from converters.to_onnx import to_onnx
from converters.to_saved_model import to_saved_model
from converters.to_tflite import to_tflite
from converters.verification.verify_keras import model_artefact
from levit_tf.keras_graph.flatten import flatten
from levit_tf.prediction.network_files import read_network
from tests.support import export_cases, keras_habits
from tests.support.artefacts import NAMES as GIVEN_NAMES
from tests.support.cases import slow, some_slow
from tests.support.keras_habits import HABITS, NAMES, answers, pixels_for

# Of the largest value: BatchNorm is folded, and sums run in another order.
TOLERANCE = 5e-5


# Layers before the LeViT and behind it, and two heads; the other ways to build a model are slow.
FAST_HABITS = [
    "adapted_normalization",
    "temperature",
    "two_heads",
    "arithmetic_in_front",
    "bytes_in",
]
EVERY_HABIT = some_slow(HABITS, fast=FAST_HABITS)


@functools.cache
def _model(habit):
    """The model of a habit, not to be changed."""
    build, *_ = HABITS[habit]
    return build()


def _expected(habit, model, pixels):
    """The user's own outputs by the names of the shipped ones, as far as they tell."""
    _, input_range, names = HABITS[habit]
    found = answers(model, pixels, input_range)
    if "probabilities" in names:
        if len(found) == 2:  # of two heads
            found = [(found[0] + found[1]) / 2]
        return {"logits" if habit in keras_habits.LOGITS else "probabilities": found[0]}
    keys = sorted(names) if isinstance(model.output, dict) else ["predictions", "pre_logits"]
    return dict(zip(keys if len(found) > 1 else names, found, strict=True))


def _assert_same(found, expected):
    for name, values in expected.items():
        limit = TOLERANCE * np.abs(values).max()
        np.testing.assert_allclose(found[name], values, rtol=0, atol=limit, err_msg=name)


@pytest.mark.parametrize("habit", EVERY_HABIT)
def test_the_deploy_graph_says_of_pixels_what_the_model_says(habit):
    _, _, names = HABITS[habit]
    model = _model(habit)
    pixels = pixels_for(model)
    expected = _expected(habit, model, pixels)
    graph = deploy_graph(model)
    assert set(graph.output) == names
    _assert_same(export_cases.answers(graph, pixels), expected)
    _assert_same(_expected(habit, model, pixels), expected)  # it was not changed


CLASSIFIERS = [habit for habit, (*_, names) in HABITS.items() if names == keras_habits.CLASSIFIER]


@pytest.mark.parametrize("habit", some_slow(CLASSIFIERS, fast=["linear_behind"]))
def test_logits_are_what_the_last_activation_turns_into_probabilities(habit):
    model = _model(habit)
    pixels = pixels_for(model)
    found = export_cases.answers(deploy_graph(model), pixels)
    is_sigmoid = habit in keras_habits.SIGMOIDS
    activation = keras.ops.sigmoid if is_sigmoid else keras.ops.softmax
    np.testing.assert_allclose(activation(found["logits"]), found["probabilities"], atol=1e-5)
    compared = model_artefact(model, habit, few=True).outputs(pixels)
    if "logits" in compared:  # what an export is compared with
        _assert_same(found, compared)


@pytest.mark.parametrize("habit", EVERY_HABIT)
def test_a_model_says_what_it_takes(habit):
    _, input_range, _ = HABITS[habit]
    model = _model(habit)
    channels = model.inputs[0].shape[-1]
    found = levit_tf.model_properties(model).input_range
    assert found == levit_tf.preprocessing.INPUT_RANGES[input_range].of_channels(channels)


@pytest.mark.parametrize(
    "change",
    [
        deploy_graph,
        levit_tf.fuse,
        lambda model: levit_tf.with_input_size(model, 48),
        lambda model: levit_tf.with_properties(model, class_names=NAMES),
        lambda model: flatten(keras.Sequential([keras.Input((32, 32, 3)), model])),
    ],
    ids=["deploy_graph", "fuse", "with_input_size", "with_properties", "flatten"],
)
def test_a_model_compiled_with_a_loss_of_ones_own_can_be_changed(change):
    def loss(labels, found):
        return keras.losses.categorical_crossentropy(labels, found)

    model = keras_habits.levit(classes=3)
    model.compile(loss=loss, metrics=[loss])
    change(model)
    assert model.compiled


def test_a_front_of_scaling_layers_becomes_one_layer():
    graph = deploy_graph(_model("preprocessing_inside"))
    assert [type(layer).__name__ for layer in graph.layers] == [
        "InputLayer",
        "Rescaling",
        "Functional",
        "Activation",
    ]


def test_what_is_not_known_of_the_input_is_asked_for():
    layers = [keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    with pytest.raises(ValueError, match="--input_range=pixels"):
        deploy_graph(model)
    pixels = pixels_for(model)
    found = deploy_graph(model, input_range="symmetric")(pixels, training=False)
    expected = np.asarray(model(pixels / 127.5 - 1, training=False))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


def test_a_flag_that_contradicts_the_model_is_refused():
    with pytest.raises(ValueError, match="contradicts the model, whose input holds: normalized"):
        deploy_graph(keras_habits.named(), input_range="pixels")


def test_two_inputs_are_refused():
    a, b = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    model = keras.Model([a, b], keras_habits.levit(classes=3)(keras.layers.Add()([a, b])))
    with pytest.raises(ValueError, match="expected one input"):
        deploy_graph(model)


EXPORTS = {
    "tflite": (to_tflite, "m.tflite", {}),
    "saved_model": (to_saved_model, "saved", {}),
    "onnx": (to_onnx, "m.onnx", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("habit", HABITS)
def test_files_say_what_the_model_says(habit, kind, tmp_path):
    convert, name, options = EXPORTS[kind]
    path = tmp_path / "m.keras"
    _model(habit).save(path)
    model = keras.models.load_model(path)
    convert(model, tmp_path / name, **options)
    network = read_network(tmp_path / name)
    if class_names := levit_tf.model_properties(model).class_names:
        assert network.class_names == class_names
    pixels = pixels_for(model, 1)
    expected = _expected(habit, model, pixels)
    found = network.outputs(pixels)
    if kind == "tflite" and "probabilities" in found and "logits" in expected:
        exponentials = np.exp(expected["logits"] - expected["logits"].max())
        expected = {"probabilities": exponentials / exponentials.sum()}
    _assert_same(found, expected)


@pytest.mark.parametrize("kind", some_slow(EXPORTS, fast=["tflite"]))
@pytest.mark.parametrize("policy", ["mixed_bfloat16", slow("mixed_float16")])
def test_a_model_of_mixed_precision_is_exported_in_float32(kind, policy, tmp_path):
    convert, name, options = EXPORTS[kind]
    keras.config.set_dtype_policy(policy)
    try:
        model = keras_habits.linear_behind()
    finally:
        keras.config.set_dtype_policy("float32")
    convert(model, tmp_path / name, **options)
    pixels = pixels_for(model, 1)
    expected = export_cases.answers(deploy_graph(model), pixels)["probabilities"]
    _assert_same(read_network(tmp_path / name).outputs(pixels), {"probabilities": expected})


@pytest.mark.parametrize("name", ["fp32.tflite", "saved_model", "model.onnx"])
def test_class_names_that_are_given_travel_into_every_file(artefacts, name):
    assert read_network(artefacts[name]).class_names == GIVEN_NAMES


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPORTS)
def test_class_names_of_the_model_travel_into_every_file(kind, tmp_path):
    convert, name, options = EXPORTS[kind]
    convert(keras_habits.named(), tmp_path / name, **options)
    assert read_network(tmp_path / name).class_names == tuple(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("kind", some_slow(EXPORTS, fast=["saved_model"]))
def test_an_export_that_does_not_say_what_the_model_says_is_refused(kind, tmp_path, monkeypatch):
    model = keras_habits.named()
    other = keras_habits.levit(classes=3)
    other.get_layer("classifier").head.linear.bias.assign([3.0, 0.0, -3.0])
    # As a converter would be wrong: its graph is of another network.
    monkeypatch.setattr(
        f"converters.{kind}.conversion.deploy_graph",
        lambda *a, **k: deploy_graph(other, *a[1:], **k),
    )
    convert, name, options = EXPORTS[kind]
    with pytest.raises(ValueError, match="does not compute what the Keras model does"):
        convert(model, tmp_path / name, **options)
    assert not (tmp_path / name).exists()
