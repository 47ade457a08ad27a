"""int8 ONNX: the integers and ranges of the int8 TFLite file, in operators that runtimes fuse."""

import collections
import re
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import numpy_helper

import levit_tf
from converters import to_onnx as command
from converters.choices import OPSETS
from converters.deploy import deploy_graph
from converters.onnx import quantize as quantizing
from converters.onnx.conversion import to_onnx
from converters.onnx.token_layout import with_tokens
from converters.tflite import quantize as tflite_quantize
from converters.verification.artefact_files import open_artefact
from converters.verification.verify_artefact import INT8
from converters.verification.verify_compare import compare_layers, compare_outputs
from levit_tf.prediction.predictor import load_predictor
from levit_tf.preprocessing import preprocess_input
from tests.support.artefacts import NAMES
from tests.support.cases import slow
from tests.support.commands import call, run_process
from tests.support.export_cases import (
    CLASSES,
    answers,
    make_model,
    relative_error,
    rgb_images,
    shared_model,
)
from tests.support.onnx_files import onnx_logits, onnx_session

SAVED = Path(__file__).parents[1] / "saved_files"
INTEGER_OPERATORS = ("QLinearConv", "QGemm")
FLOAT_OPERATORS = ("Conv", "Gemm")


@pytest.fixture(scope="module")
def path(artefacts):
    return artefacts["int8.onnx"]


def optimized_operators(path, folder):
    """The operators that ONNX Runtime makes of a file."""
    optimized = folder / "optimized.onnx"
    onnx_session(path, optimized_model_filepath=str(optimized), log_severity_level=4)
    return collections.Counter(node.op_type for node in onnx.load(optimized).graph.node)


def tflite_layers(path):
    """Layer -> (int8 kernel with filters first, its scales) of a TFLite file's convolutions."""
    interpreter = Interpreter(model_path=str(path))
    found = {}
    for tensor in interpreter.get_tensor_details():
        match = re.search(r"/(\w+?)(_1)?/convolution$", tensor["name"])
        if match and tensor["dtype"] == np.int8:
            integers = interpreter.get_tensor(tensor["index"])
            found[match[1]] = integers, tensor["quantization_parameters"]["scales"]
    return found


def onnx_layers(path):
    """The same of an ONNX file, in the layout of TFLite."""
    model = onnx.load(path)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    writers = {node.output[0]: node for node in model.graph.node}
    found = {}
    for node in model.graph.node:
        if node.op_type not in FLOAT_OPERATORS:
            continue
        integers, scales = (constants[name] for name in writers[node.input[1]].input[:2])
        if node.op_type == "Conv":
            integers = integers.transpose(0, 2, 3, 1)  # (filters, height, width, channels)
        else:
            integers = integers.T[:, None, None]
        found[node.name.split("/")[0]] = integers, scales
    return found


def test_kernels_and_scales_are_those_of_the_tflite_file(path, artefacts):
    expected, found = tflite_layers(artefacts["int8.tflite"]), onnx_layers(path)
    assert len(expected) > 20
    assert set(found) - set(expected) == {"classifier"}
    for name, (integers, scales) in expected.items():
        np.testing.assert_array_equal(found[name][0], integers, err_msg=name)
        np.testing.assert_array_equal(found[name][1], scales, err_msg=name)


def test_no_bias_is_all_zeros_which_openvino_would_take_for_none(tmp_path, monkeypatch):
    # Ranges that training learned come without pictures, by which biases would be corrected.
    monkeypatch.setattr(tflite_quantize, "correct_biases", lambda *_: None)
    path = tmp_path / "int8.onnx"
    to_onnx(shared_model(), path, recipe="int8", calibration_images=rgb_images(8))
    biases = {
        one.name: numpy_helper.to_array(one)
        for one in onnx.load(path).graph.initializer
        if one.name.endswith("/bias/integers")
    }
    keys = [bias for name, bias in biases.items() if "attn_k/" in name]
    assert keys
    assert [set(bias.tolist()) for bias in keys] == [{1}] * len(keys)
    assert all(bias.any() for bias in biases.values())


def test_grids_of_activations_are_those_of_the_tflite_file(path, artefacts):
    interpreter = Interpreter(model_path=str(artefacts["int8.tflite"]))
    expected = {
        (np.float32(tensor["quantization"][0]), tensor["quantization"][1] + 128)
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] == np.int8
    }
    model = onnx.load(path)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {
        tuple(constants[name].item() for name in node.input[1:])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert len(found) > 20
    assert found <= {(float(scale), zero) for scale, zero in expected}


def test_runtimes_find_integer_operators_for_every_convolution_and_dense_layer(path, tmp_path):
    ops = optimized_operators(path, tmp_path)
    assert sum(ops[kind] for kind in INTEGER_OPERATORS) == len(onnx_layers(path))
    assert not set(FLOAT_OPERATORS) & set(ops)
    # What is left are attention's products.
    assert ops["MatMul"] + ops["FusedMatMul"] == 2 * ops["Softmax"] - 2


def test_layers_are_those_of_the_tflite_file_within_a_step_of_rounding(path, artefacts):
    a, b = (open_artefact(artefacts[name]) for name in ("int8.tflite", "int8.onnx"))
    images = rgb_images(16)
    outputs = compare_outputs(a, b, images)
    found = compare_layers(a, b, images, outputs)
    assert len(found.layers) > 10
    assert (found.only_a, found.only_b) == ([], [])
    assert {name for name, layer in found.layers.items() if layer is None} == set()
    for name, layer in found.layers.items():
        if name.startswith("stem"):
            assert layer.maximum == 0, name  # the same integers
        else:
            # TFLite rounds sums and what goes into hard-swish, too.
            assert layer.mean < 0.02 * layer.maximum / layer.relative, name
            assert layer.cosine > 0.99, name


def test_answers_are_those_of_keras_nearly(path):
    images = rgb_images(32)
    expected = answers(shared_model(classifier_activation=None), preprocess_input(images))
    found = onnx_logits(path, images)
    assert relative_error(found, expected) < 0.15
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.9


def test_integer_operators_compute_what_the_graph_means_in_floats(path):
    """As ONNX defines it: without fusion every value is dequantised, and products are float32."""
    images = rgb_images(8)
    plain = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = onnx_logits(path, images, graph_optimization_level=plain)
    # A value between two steps may be rounded to either.
    assert relative_error(onnx_logits(path, images), expected) < 0.03


def test_a_picture_is_answered_alike_in_every_batch(path):
    images = rgb_images(5)
    alone = np.concatenate([onnx_logits(path, image[None]) for image in images])
    np.testing.assert_allclose(onnx_logits(path, images), alone, atol=1e-5)


def test_a_file_is_small_and_knows_its_classes(path, artefacts):
    sizes = [artefacts[name].stat().st_size for name in ("int8.onnx", "model.onnx")]
    assert sizes[0] < 0.6 * sizes[1]  # the names of a small network's nodes are much of it
    predictor = load_predictor(path)
    assert tuple(predictor.class_names) == NAMES
    assert open_artefact(path).precision == INT8


@pytest.mark.slow
def test_the_oldest_opset_and_a_fixed_batch(tmp_path):
    path = tmp_path / "two.onnx"
    images = rgb_images(16, seed=3)
    options = {"opset": OPSETS[0], "batch_size": 2, "calibration_method": "min_max"}
    written = to_onnx(shared_model(), path, recipe="int8", calibration_images=images, **options)
    assert written < INT8.tolerance
    assert len(written.int8) == written.layers == len(onnx_layers(path))
    session = onnx_session(path)
    assert session.get_inputs()[0].shape == [2, 32, 32, 3]
    assert onnx.load(path).opset_import[0].version == OPSETS[0]


@pytest.mark.parametrize(
    "options", [{"heads": "both"}, slow({}), slow({"input_shape": (32, 48, 3)})]
)
def test_dense_layers_over_tokens_compute_the_same(options):
    graph = deploy_graph(make_model(**options))
    found = with_tokens(graph)
    kinds = collections.Counter(type(layer).__name__ for layer in found.layers)
    assert kinds["Conv2D"] == 3  # the stem
    images = rgb_images(2, options.get("input_shape", (32, 32))[:2])
    expected, found = answers(graph, images), answers(found, images)
    assert relative_error(found["logits"], expected["logits"]) < 1e-5


@pytest.mark.slow
def test_layers_around_a_levit_are_part_of_it(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    shared = keras.layers.Conv2D(3, 1, name="twice")
    x = shared(keras.layers.ReLU()(shared(x)))
    x = make_model(include_top=False, pooling="avg")(x)
    x = keras.layers.Dense(16, activation="relu", name="before")(x)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax", name="last")(x))
    images = rgb_images(16, seed=3)
    path = tmp_path / "model.onnx"
    written = to_onnx(
        model, path, recipe="int8", calibration_images=images, calibration_method="min_max"
    )
    # What is called twice has two ranges, and stays in float.
    assert {"before", "last", "stem_conv1"} <= set(written.int8)
    assert "twice" not in written.int8
    assert written < INT8.tolerance


@pytest.mark.slow
def test_a_kernel_that_was_not_rounded_is_not_taken_for_the_rounded_one(tmp_path, monkeypatch):
    rounded = quantizing._in_layout_of

    def other(node, kernel):
        return rounded(node, np.roll(kernel, 1, axis=0))

    monkeypatch.setattr(quantizing, "_in_layout_of", other)
    with pytest.raises(ValueError, match="its kernel is not the one that was rounded"):
        to_onnx(
            shared_model(),
            tmp_path / "model.onnx",
            recipe="int8",
            calibration_images=rgb_images(8),
            calibration_method="min_max",
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "int4"}, "--recipe: expected fp32 or int8 for ONNX. Received: 'int4'"),
        ({"recipe": "int8_full"}, "--recipe: expected fp32 or int8 for ONNX"),
        ({"recipe": "int8"}, "'int8' needs calibration data"),
        ({"calibration_method": "mse"}, "recipe 'fp32' learns no ranges"),
        slow(
            {"recipe": "int8", "calibration_images": rgb_images(4)},
            "needs at least 8 pictures. Received: 4",
        ),
        (
            {"recipe": "int8", "calibration_images": rgb_images(8, (48, 48))},
            r"must have shape \(n, 32, 32, 3\)",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(shared_model(), tmp_path / "model.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_network_for_every_size_is_refused_with_what_to_do(tmp_path):
    model = levit_tf.LeViT("LeViTTiny", input_shape=(None, None, 3), bias_size=32, classes=CLASSES)
    options = {"recipe": "int8", "calibration_images": rgb_images(8)}
    with pytest.raises(ValueError, match=r"of a fixed size.*with_input_size fixes it"):
        to_onnx(model, tmp_path / "model.onnx", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipe=int8"], "Recipe 'int8' needs calibration data"),
        (["--recipe=int9"], "--recipe: expected fp32 or int8 for ONNX. Received: 'int9'"),
        (["--calibration_method=mse"], "--calibration_method: recipe 'fp32' learns no ranges"),
        (
            ["--recipe=int8", "--calibration=photographs", "--calibration_method=best"],
            "--calibration_method: expected one of min_max",
        ),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys, flags, message):
    files = ["--model=model.keras", f"--output={tmp_path / 'model.onnx'}"]
    assert call(command, [*files, *flags]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_the_command_calibrates_and_says_how_much_is_int8(tmp_path, capsys, artefacts):
    files = [f"--model={artefacts['model.keras']}", f"--output={tmp_path / 'model.onnx'}"]
    flags = ["--recipe=int8", "--calibration=digits", "--calibration_method=min_max"]
    assert call(command, [*files, *flags]) == 0
    out = capsys.readouterr().out
    found = re.search(r"in int8: (\d+) of (\d+) convolutions and dense layers", out)
    assert found[1] == found[2] == str(len(onnx_layers(tmp_path / "model.onnx")))


@pytest.mark.slow
def test_operations_of_a_file_may_have_the_names_that_keras_gives_next(tmp_path):
    """Keras numbers operations by process, so this needs one that has made none."""
    source, output = SAVED / "fused.keras", tmp_path / "fused.onnx"
    flags = [f"--model={source}", f"--output={output}", "--layout=tokens"]
    done = run_process("converters.to_onnx", *flags)
    assert done.returncode == 0, done.stderr
    assert output.exists()
