"""Fake quantisation: it rounds what the int8 file rounds, and the file gets the trained ranges."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from converters.choices import TARGETS
from converters.deploy import deploy_graph
from converters.qat import __main__ as command
from converters.qat import conversion
from converters.qat.qat_model import QuantizedModel, load_quantized
from converters.qat.qat_network import (
    fake_quantize,
    float_ranges,
    quantized_weights,
    ranges_of,
    set_ranges,
)
from converters.qat.qat_packages import tf_keras
from converters.qat.qat_quantizers import (
    DECAY,
    ActivationQuantizer,
    ConstantQuantizer,
    KernelQuantizer,
)
from converters.qat.qat_saved_model import write_fake_quantized
from converters.qat.twin import set_graph_weights
from levit_tf import fuse
from levit_tf.prediction.predictor import load_predictor
from tests.support.cases import slow, some_slow
from tests.support.commands import call
from tests.support.export_cases import rgb_images, shared_model

EACH_TARGET = some_slow(TARGETS, fast=["int8"])


@pytest.fixture(scope="module")
def source():
    return fuse(shared_model())


class OfEachTarget(dict):
    """What is made for a target when it is first asked for."""

    def __init__(self, make):
        self.make = make

    def __missing__(self, target):
        self[target] = self.make(target)
        return self[target]


@pytest.fixture(scope="module")
def networks(source):
    """The fake-quantised network for each target, with ranges from pictures."""

    def make(target):
        graph = deploy_graph(source)
        network = fake_quantize(graph, target)
        set_ranges(network, float_ranges(graph, target, rgb_images(64, seed=3)))
        return network

    return OfEachTarget(make)


@pytest.fixture(scope="module")
def quantized(source, networks):
    """What a run would ship of them."""

    def make(target):
        model = keras.models.clone_model(source)
        set_graph_weights(model, quantized_weights(networks[target]))
        return QuantizedModel(model, target, ranges_of(networks[target]))

    return OfEachTarget(make)


@pytest.fixture(scope="module")
def saved(quantized, tmp_path_factory):
    """What a run ships, as files."""
    folder = tmp_path_factory.mktemp("trained")

    def make(target):
        quantized[target].save(folder / f"{target}.keras")
        return folder / f"{target}.keras"

    return OfEachTarget(make)


@pytest.fixture(scope="module")
def files(quantized, saved, tmp_path_factory):
    """The int8 file of each target: one of the network that was trained, one of its file."""
    folder = tmp_path_factory.mktemp("qat")

    def make(target):
        path = folder / f"{target}.tflite"
        if target == "int8":
            conversion.export(quantized[target], path)
        else:
            conversion.convert(saved[target], path)
        return path

    return OfEachTarget(make)


def outputs_of(network, images):
    """What every layer of a network returns, by name."""
    layers = {layer.name: layer.output for layer in network.layers[1:]}
    return {name: y.numpy() for name, y in tf_keras.Model(network.input, layers)(images).items()}


def kernels_of(path):
    """Integers and scales of the convolutions of a file, by name of layer."""
    interpreter = Interpreter(model_path=str(path))
    found = {}
    for tensor in interpreter.get_tensor_details():
        name = tensor["name"].split("/")
        if name[-1] == "convolution" and tensor["dtype"] == np.int8:
            integers = interpreter.get_tensor(tensor["index"])
            layer = name[-2].removesuffix("_1")
            found[layer] = integers, tensor["quantization_parameters"]["scales"]
    return found


def test_kernels_are_rounded_to_127_steps_on_either_side_of_zero():
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, rng.uniform(0.1, 3, 5), (3, 3, 4, 5)).astype(np.float32)
    kernel[..., 2] = 0
    found = KernelQuantizer()(tf.constant(kernel), training=False, weights={})
    scale = np.maximum(np.abs(kernel).max((0, 1, 2)), 1e-9) / 127
    np.testing.assert_allclose(found, np.round(kernel / scale) * scale, atol=1e-6)


@pytest.mark.parametrize("quantizer", [KernelQuantizer(), ConstantQuantizer()])
def test_gradients_pass_through_the_rounding_of_weights(quantizer):
    rng = np.random.default_rng(0)
    weights = tf.Variable(rng.normal(size=(4, 3)).astype(np.float32))
    upstream = rng.normal(size=(4, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantizer(weights, training=True, weights={}) * upstream)
    np.testing.assert_array_equal(tape.gradient(loss, weights), upstream)


@pytest.mark.parametrize("symmetric", [False, True])
def test_ranges_of_activations_follow_the_batches_and_zero_is_exact(symmetric):
    layer = tf_keras.layers.Layer()
    quantizer = ActivationQuantizer(symmetric)
    weights = quantizer.build(None, "output", layer)
    weights["min_var"].assign(-1.0)
    weights["max_var"].assign(2.0)
    x = tf.constant(np.linspace(-4, 8, 1000, dtype=np.float32))
    quantizer(x, training=False, weights=weights)
    assert float(weights["max_var"]) == 2.0
    found = quantizer(x, training=True, weights=weights).numpy()
    low, high = float(weights["min_var"]), float(weights["max_var"])
    assert high == pytest.approx(DECAY * 2 + (1 - DECAY) * 8)
    batch_low = -8 * 128 / 127 if symmetric else -4
    assert low == pytest.approx(-DECAY + (1 - DECAY) * batch_low)
    assert len(np.unique(found)) <= 256
    assert found.min() == pytest.approx(low, abs=(high - low) / 255)
    assert 0.0 in found


@pytest.mark.slow
def test_the_mixed_target_leaves_the_sums_of_attention_in_float(networks):
    outputs = outputs_of(networks["int8"], rgb_images(8))
    for name, y in outputs.items():
        is_float = name.startswith("add_") or name.endswith("bias")
        passes_on = name.endswith(("_heads", "_transpose", "_pad")) or name.startswith("stages_")
        levels = len(np.unique(y))
        if is_float and y.size > 1000:
            assert levels > 256, name
        if not is_float and not passes_on:
            assert levels <= 256, name


@pytest.mark.slow
def test_the_full_target_rounds_the_output_of_every_layer(networks):
    outputs = outputs_of(networks["int8_full"], rgb_images(8))
    assert len(outputs) > 100
    assert {name for name, y in outputs.items() if len(np.unique(y)) > 256} == set()


@pytest.mark.parametrize("target", EACH_TARGET)
def test_the_file_has_the_trained_integers_and_scales(networks, files, target):
    found = kernels_of(files[target])
    assert len(found) > 20
    weights = quantized_weights(networks[target])
    for name, (integers, scales) in found.items():
        kernel = weights[name][0]
        scale = np.abs(kernel).max((0, 1, 2)) / 127
        # (height, width, in, out) -> (out, height, width, in), as TFLite has it
        np.testing.assert_array_equal(
            integers, np.round(kernel / scale).transpose(3, 0, 1, 2), err_msg=name
        )
        # The fully quantised file has the 1/6 of hard-swish in the kernels behind it.
        ratios = scales / scale
        np.testing.assert_allclose(ratios, np.round(6 * ratios[0]) / 6, rtol=1e-5)


@pytest.mark.parametrize("target", EACH_TARGET)
def test_the_file_has_the_trained_ranges(networks, files, target):
    interpreter = Interpreter(model_path=str(files[target]))
    found = np.array(
        [
            tensor["quantization"][0]
            for tensor in interpreter.get_tensor_details()
            if tensor["dtype"] == np.int8 and len(tensor["quantization_parameters"]["scales"]) == 1
        ]
    )
    for name, (low, high) in ranges_of(networks[target]).items():
        if not name.endswith("gate"):
            scale = (high - low) / 255
            ratios = found / scale
            is_there = np.isclose(ratios, 1, rtol=1e-5) | np.isclose(ratios, 6, rtol=1e-5)
            assert is_there.any(), name


@pytest.mark.parametrize("target", EACH_TARGET)
def test_the_file_answers_as_the_fake_quantised_network(networks, files, target):
    images = rgb_images(64)
    expected = tf.nn.softmax(networks[target](images, training=False)).numpy()
    found = load_predictor(files[target]).predict(images)
    # An untrained network decides narrowly: the distance counts more than the winner.
    assert np.abs(found - expected).mean() < 3e-3
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.85


@pytest.mark.parametrize("target", EACH_TARGET)
def test_a_saved_network_keeps_its_target_and_ranges(quantized, saved, target):
    loaded = load_quantized(saved[target])
    assert (loaded.target, dict(loaded.ranges)) == (target, dict(quantized[target].ranges))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_saved_network_becomes_the_same_file_as_the_trained_one(
    quantized, saved, target, tmp_path
):
    conversion.export(quantized[target], tmp_path / "trained.tflite")
    conversion.convert(saved[target], tmp_path / "again.tflite")
    images = rgb_images(4)
    np.testing.assert_array_equal(
        load_predictor(tmp_path / "again.tflite").predict(images),
        load_predictor(tmp_path / "trained.tflite").predict(images),
    )


@pytest.mark.slow
def test_a_saved_network_is_a_fused_levit_to_keras(quantized, saved):
    model = keras.models.load_model(saved["int8"])
    images = rgb_images(2)
    np.testing.assert_array_equal(
        model.predict_on_batch(images), quantized["int8"].model.predict_on_batch(images)
    )


@pytest.mark.slow
def test_the_fake_quantised_network_is_a_saved_model_too(networks, quantized, tmp_path):
    write_fake_quantized(quantized["int8"], tmp_path / "saved")
    images = rgb_images(8)
    expected = tf.nn.softmax(networks["int8"](images, training=False)).numpy()
    found = load_predictor(tmp_path / "saved").predict(images)
    # Rounding once more what is rounded may move a kernel by a float's last digit, and by that
    # an activation by one step.
    np.testing.assert_allclose(found, expected, atol=2e-2)


def save_small(path):
    keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]).save(path)


def test_a_network_without_learned_ranges_is_refused(tmp_path):
    save_small(tmp_path / "float.keras")
    message = r"holds no learned ranges.*--set=qat=int8 --set=init_from=.*float\.keras.*to_tflite"
    with pytest.raises(ValueError, match=message):
        conversion.convert(tmp_path / "float.keras", tmp_path / "out.tflite")
    assert not (tmp_path / "out.tflite").exists()


@pytest.mark.parametrize(
    "content",
    ["nonsense", "{}", '{"target": "int4", "ranges": {}}', '{"target": "int8", "ranges": [1]}']
    + [
        f'{{"target": "int8", "ranges": {{"stem_conv1": {ends}}}}}'
        for ends in ("[0]", '["a", 1]', "[1, 2]", "[0, NaN]")
    ],
)
def test_damaged_ranges_are_refused(tmp_path, content):
    path = tmp_path / "damaged.keras"
    save_small(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("quantization.json", content)
    with pytest.raises(ValueError, match=r"damaged\.keras: its quantization\.json is damaged"):
        load_quantized(path)


def test_ranges_of_another_network_are_refused(networks):
    with pytest.raises(ValueError, match="no range for the output of classifier"):
        set_ranges(networks["int8"], {"stem_conv1": (-1, 1)})


def test_the_command_reports_errors_in_one_line(tmp_path, capsys):
    arguments = [f"--model={tmp_path}", f"--output={tmp_path / 'out.tflite'}"]
    assert call(command, arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}: no final.keras in it")


@pytest.mark.slow
def test_an_onnx_file_is_the_network_that_was_trained_for_int8(networks, saved, tmp_path):
    about = conversion.convert(saved["int8"], tmp_path / "int8.onnx")
    assert (about["recipe"], list(tmp_path.iterdir())) == ("int8", [tmp_path / "int8.onnx"])
    images = rgb_images(64)
    expected = tf.nn.softmax(networks["int8"](images, training=False)).numpy()
    found = load_predictor(tmp_path / "int8.onnx").predict(images)
    # What training rounds after sums and before hard-swish stays in float in the ONNX file.
    assert np.abs(found - expected).mean() < 0.01
    assert np.mean(found.argmax(1) == expected.argmax(1)) > 0.8


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        slow(
            "int8_full", {}, "trained for int8_full, which an ONNX file cannot be. Write a .tflite"
        ),
        ("int8", {"outputs": "both"}, "--outputs and --io_dtype are for TFLite"),
    ],
)
def test_what_an_onnx_file_cannot_be_is_refused(saved, tmp_path, target, options, message):
    with pytest.raises(ValueError, match=message):
        conversion.convert(saved[target], tmp_path / "model.onnx", **options)
    assert list(tmp_path.iterdir()) == []
