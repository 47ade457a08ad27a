"""ONNX export: the same answers as Keras for any batch, channels-first, and refusals that help."""

import collections
import sys

import keras
import numpy as np
import onnx
import onnx_ir
import pytest

import levit_tf
from converters import to_onnx as to_onnx_command
from converters.choices import DEFAULT_OPSET, OPSETS
from converters.onnx import conversion
from converters.onnx.conversion import to_onnx
from levit_tf.prediction.predictor import load_predictor
from levit_tf.preprocessing import preprocess_input
from levit_tf.variants import get_variant
from tests.support.commands import call
from tests.support.export_cases import (
    CLASSES,
    answers,
    relative_error,
    rgb_images,
    shared_model,
)
from tests.support.onnx_files import onnx_logits, onnx_session
from tests.support.randomize import randomize_keras


@pytest.fixture(scope="module")
def model():
    return shared_model(classifier_activation=None)


@pytest.fixture(scope="module")
def path(artefacts):
    return artefacts["model.onnx"]


@pytest.fixture(scope="module")
def two(model, tmp_path_factory):
    """The file of the oldest opset for batches of two."""
    path = tmp_path_factory.mktemp("onnx") / "two.onnx"
    assert to_onnx(model, path, opset=OPSETS[0], batch_size=2) < 1e-5
    return path


def ops_of(path):
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


def convolutions_read_and_write_each_other(path):
    """Whether no convolution's input or output is turned around."""
    graph = onnx.load(path).graph
    writers = {name: node for node in graph.node for name in node.output}
    turned = [node for node in graph.node if node.op_type == "Transpose"]
    before = [writers.get(node.input[0]) for node in turned]
    after = {node.input[0] for node in graph.node if node.op_type == "Conv"}
    return not any(node and node.op_type == "Conv" for node in before) and not any(
        node.output[0] in after for node in turned if node.input[0] != "images"
    )


@pytest.mark.slow
def test_with_tokens_every_pointwise_convolution_is_a_matrix_product(model, path, tmp_path):
    tokens = tmp_path / "tokens.onnx"
    assert to_onnx(model, tokens, layout="tokens") < 1e-5
    images = rgb_images(3)
    expected = answers(model, preprocess_input(images))
    assert relative_error(onnx_logits(tokens, images), expected) < 1e-5
    maps, found = ops_of(path), ops_of(tokens)
    stem = get_variant("LeViTTiny").stem_convs
    assert found["Conv"] == stem
    products = [ops["Gemm"] + ops["MatMul"] for ops in (maps, found)]
    assert products[1] - products[0] == maps["Conv"] - stem > 10


def test_tokens_need_pictures_of_one_size(model, tmp_path):
    model = levit_tf.with_input_size(model, None)
    with pytest.raises(ValueError, match=r"of a fixed size.*with_input_size fixes it"):
        to_onnx(model, tmp_path / "model.onnx", layout="tokens")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_answers_are_those_of_keras_for_any_batch(model, path, count):
    images = rgb_images(count)
    expected = answers(model, preprocess_input(images))
    assert relative_error(onnx_logits(path, images), expected) < 1e-5


def test_names_and_shapes_are_the_documented_ones(path):
    session = onnx_session(path)
    (image,) = session.get_inputs()
    assert (image.name, image.shape, image.type) == (
        "images",
        ["batch", 32, 32, 3],
        "tensor(float)",
    )
    outputs = {tensor.name: tensor.shape for tensor in session.get_outputs()}
    assert outputs == {"logits": ["batch", CLASSES], "probabilities": ["batch", CLASSES]}


@pytest.mark.slow
def test_a_fixed_batch_is_part_of_the_file(model, two):
    session = onnx_session(two)
    assert session.get_inputs()[0].shape == [2, 32, 32, 3]
    predictor = load_predictor(two)
    images = rgb_images(3)
    expected = keras.ops.softmax(answers(model, preprocess_input(images)))
    np.testing.assert_allclose(predictor.predict(images), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [OPSETS[0], DEFAULT_OPSET, OPSETS[-1]])
def test_the_graph_is_channels_first_throughout(model, path, two, tmp_path, opset):
    if opset == OPSETS[-1]:
        to_onnx(model, tmp_path / "model.onnx", opset=opset)
    path = {OPSETS[0]: two, DEFAULT_OPSET: path}.get(opset, tmp_path / "model.onnx")
    assert onnx.load(path).opset_import[0].version == opset
    ops = ops_of(path)
    assert ops["HardSwish"] == 12
    assert not {"Clip", "Shape", "Gather", "Concat"} & set(ops)
    # One for the pictures, two for each of the attentions over more than one query.
    assert ops["Transpose"] <= 1 + 2 * 4
    assert convolutions_read_and_write_each_other(path)


@pytest.mark.slow
def test_silu_and_grids_that_are_not_square(tmp_path):
    variant = levit_tf.Variant(
        "silu",
        embed_dim=(48, 64, 96),
        key_dim=16,
        num_heads=(3, 4, 6),
        depth=(1, 1, 1),
        stem_convs=3,
        activation="silu",
    )
    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT(variant, input_shape=(32, 48, 3), classes=CLASSES, heads="both")
    randomize_keras(model)
    to_onnx(model, tmp_path / "model.onnx")
    images = rgb_images(2, (32, 48))
    expected = answers(levit_tf.with_heads(model, "average"), preprocess_input(images))
    found = load_predictor(tmp_path / "model.onnx").predict(images)
    assert relative_error(found, expected) < 1e-5
    assert ops_of(tmp_path / "model.onnx")["Transpose"] <= 1 + 2 * 5
    assert convolutions_read_and_write_each_other(tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp32", "int8"])
def test_windows_of_a_fixed_size_answer_as_keras_for_any_batch(recipe, tmp_path):
    sizes = {"input_shape": 128, "bias_size": 64, "attention_window": 4}
    logits = {"classes": CLASSES, "classifier_activation": None}
    model = levit_tf.LeViT("LeViTNano", **logits, **sizes)
    randomize_keras(model)
    images, path = rgb_images(16, (128, 128)), tmp_path / "windows.onnx"
    to_onnx(model, path, recipe=recipe, calibration_images=images)
    expected = answers(model, preprocess_input(images[:3]))
    for count in (1, 3):
        found = onnx_logits(path, images[:count])
        assert relative_error(found, expected[:count]) < (1e-5 if recipe == "fp32" else 0.1)


def test_nodes_carry_the_names_of_layers(path):
    names = {node.name for node in onnx.load(path).graph.node}
    assert {
        "stem_conv1/Conv",
        "stages_0_blocks_0_attn_softmax/Softmax",
        "stages_1_downsample_attn_proj/Conv",
        "stages_2_blocks_0_mlp_add/Add",
    } <= names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 13}, "--opset: expected 14 to 18. Received: 13"),
        ({"opset": 19}, "--opset: expected 14 to 18. Received: 19"),
        ({"batch_size": 0}, "--batch: expected dynamic or at least 1. Received: 0"),
        ({"layout": "token"}, "expected maps or tokens. Received: 'token'.*'tokens'"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(model, tmp_path / "model.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_say_what_it_takes_is_refused(tmp_path):
    inputs = keras.Input((32, 32, 3))
    other = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs), name="other")
    with pytest.raises(ValueError, match="'other': nothing in the model says what its input holds"):
        to_onnx(other, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_that_computes_something_else_is_not_kept(model, tmp_path, monkeypatch):
    rename = conversion._rename

    def spoil(graph, layers):
        rename(graph, layers)
        kernel = next(
            v for v in graph.graph.initializers.values() if v.name.startswith("stem_conv2")
        )
        kernel.const_value = onnx_ir.tensor(kernel.const_value.numpy() * 1.01)

    monkeypatch.setattr(conversion, "_rename", spoil)
    with pytest.raises(ValueError, match="not written, as it does not compute what the Keras"):
        to_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(model, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        to_onnx(model, path)
    assert path.read_text() == "precious"
    with pytest.raises(ValueError, match=r"ending in \.onnx"):
        to_onnx(model, tmp_path / "model.pb")


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(
        ImportError, match=r'tf2onnx, which is missing: pip install "levit_tf\[onnx\]'
    ):
        to_onnx(model, tmp_path / "model.onnx")


def test_the_command_writes_a_file_and_says_how_close_it_is(model, tmp_path, run_command):
    model.save(tmp_path / "model.keras")
    files = f"--model={tmp_path / 'model.keras'}", f"--output={tmp_path / 'model.onnx'}"
    done = run_command("converters.to_onnx", *files, "--opset=18")
    assert done.returncode == 0, done.stderr
    assert "opset 18, batch dynamic" in done.stdout
    assert "largest difference from Keras" in done.stdout
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 18


def test_a_batch_that_is_no_number_is_refused(tmp_path, capsys):
    arguments = ["--model=model.keras", f"--output={tmp_path / 'model.onnx'}", "--batch=many"]
    assert call(to_onnx_command, arguments) == 1
    assert capsys.readouterr().err.endswith(
        "error: --batch: expected dynamic or a positive number. Received: 'many'\n"
    )
