"""Comparing two files: equal in every format, a changed weight found, misfits named."""

import dataclasses
import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import levit_tf
from converters import verify as command
from converters.layer_names import block_in, layer_in
from converters.tflite.tflite_check import compare_with_keras
from converters.verification.export_check import check_export
from converters.verification.verify_artefact import FLOAT32, INT8, Artefact
from converters.verification.verify_compare import (
    compare_layers,
    compare_outputs,
    differing_class_names,
)
from converters.verification.verify_keras import keras_artefact
from converters.verification.verify_pictures import comparison_pictures
from converters.verify import open_artefact
from levit_lite.prediction.network import Network
from tests.support.cases import some_slow
from tests.support.commands import call, run_process
from tests.support.export_cases import make_model, rgb_images

GRAPHS = ("saved_model", "fp32.tflite", "model.onnx")
FLOAT_FILES = ("fused.keras", *GRAPHS, "timm.safetensors")


@pytest.fixture(scope="module")
def opened(artefacts):
    """Name of a file of the network -> that file, opened once."""
    return functools.cache(lambda name: open_artefact(artefacts[name]))


@pytest.fixture
def verify(tmp_path):
    """Runs the command on two files; returns the exit code and the JSON."""

    def run(a, b, *options, layers=True):
        report = tmp_path / "report.json"
        arguments = [a, b, f"--json={report}", *options, *(["--layers"] if layers else [])]
        return call(command, arguments), json.loads(report.read_text())

    return run


def compare(a, b):
    """What the command compares: the differences of outputs and of layers."""
    images = comparison_pictures(None, a.network.input_shape[1:])
    outputs = compare_outputs(a, b, images)
    return outputs, compare_layers(a, b, images, outputs)


def changed(folder, weight, factor=1.5):
    """The network with one weight multiplied, as a `.keras` file."""
    model = make_model()
    variable = next(variable for variable in model.weights if variable.path == weight)
    variable.assign(keras.ops.convert_to_numpy(variable) * factor)
    model.save(folder / "changed.keras")
    return folder / "changed.keras"


@pytest.mark.parametrize("name", some_slow(FLOAT_FILES, fast=GRAPHS[1:2]))
def test_every_format_equals_the_keras_file_in_every_layer(opened, name):
    outputs, layers = compare(opened("model.keras"), opened(name))
    assert opened(name).precision == FLOAT32
    assert outputs.within(FLOAT32.tolerance)
    assert outputs.pictures == outputs.same_top1 == 64
    assert max(output.relative for output in outputs.outputs.values()) < 1e-5
    # Three convolutions in the stem, five attentions and MLPs, their sums but for two attentions
    # that subsample, pooled features, and the output.
    assert len(layers.layers) == 3 + 2 * 5 + 2 * 5 - 2 + 2
    assert layers.only_a == layers.only_b == []
    assert layers.first_beyond(FLOAT32.tolerance) is None


@pytest.mark.slow
def test_the_command_says_that_two_files_are_the_same(artefacts, verify, capsys):
    status, report = verify(artefacts["model.keras"], artefacts["fp32.tflite"])
    assert status == 0
    assert report["within_tolerance"]
    assert report["tolerance"] == FLOAT32.tolerance
    assert report["pictures"] == report["same_top1"] == 64
    assert report["layers_only_in_a"] == report["layers_only_in_b"] == []
    assert report["first_layer_beyond_tolerance"] is None
    text, errors = capsys.readouterr()
    assert errors == ""
    assert "same top-1: 64 of 64 (100.0 %)" in text
    assert "No layer differs by more than 1.0e-04." in text


def test_networks_for_every_size_are_compared(artefacts, verify, tmp_path, capsys):
    levit_tf.with_input_size(make_model(), None).save(tmp_path / "open.keras")
    status, report = verify(tmp_path / "open.keras", tmp_path / "open.keras")
    assert (status, report["pictures"], report["same_top1"]) == (0, 16, 16)
    assert "16 pictures of 96x160" in capsys.readouterr().out
    status, report = verify(tmp_path / "open.keras", artefacts["model.keras"])
    assert (status, report["pictures"]) == (0, 64)
    assert "64 pictures of 32x32" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weight", "layer"),
    [
        ("stages_0_blocks_0_attn/attention_biases", "stages_0_blocks_0_attn"),
        ("stem_conv2/linear/kernel", "stem_conv2"),
        ("stages_1_downsample_attn/q/bn/gamma", "stages_1_downsample_attn"),
        ("stages_1_blocks_0_mlp/ln1/linear/kernel", "stages_1_blocks_0_mlp"),
        ("classifier/head_dist/linear/bias", "logits"),
    ],
)
def test_a_changed_weight_is_found_in_its_layer(artefacts, verify, tmp_path, weight, layer, capsys):
    status, report = verify(artefacts["model.keras"], changed(tmp_path, weight))
    assert status == 1
    assert report["first_layer_beyond_tolerance"] == layer
    text = capsys.readouterr().out
    assert f"First layer that differs by more than 1.0e-04: {layer}" in text
    assert "NOT within the tolerance of 1.0e-04" in text


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The network with a changed weight, opened."""
    folder = tmp_path_factory.mktemp("changed")
    return open_artefact(changed(folder, "stages_1_downsample_mlp/ln2/linear/kernel"))


@pytest.mark.parametrize("name", some_slow(FLOAT_FILES, fast=GRAPHS[1:2]))
def test_a_changed_weight_is_found_in_every_format(opened, other, name):
    outputs, layers = compare(opened(name), other)
    assert not outputs.within(FLOAT32.tolerance)
    assert layers.first_beyond(FLOAT32.tolerance) == "stages_1_downsample_mlp"


@pytest.mark.slow
def test_int8_is_held_against_a_wider_tolerance(artefacts, verify):
    status, report = verify(artefacts["model.keras"], artefacts["int8.tflite"])
    assert status == 0
    assert report["b"]["precision"] == "int8"
    assert report["tolerance"] == INT8.tolerance
    assert report["layers"]["stages_2_blocks_0_mlp_add"]["cosine"] > 0.95


@pytest.mark.slow
def test_the_layers_are_drawn_and_the_tolerance_may_be_given(artefacts, verify, tmp_path):
    picture = tmp_path / "layers.png"
    a, b = artefacts["model.keras"], artefacts["int8.tflite"]
    status, report = verify(a, b, f"--picture={picture}", "--tolerance=1e-3", layers=False)
    assert (status, report["tolerance"]) == (1, 1e-3)
    assert np.asarray(Image.open(picture)).std() > 5  # there is something in it


@pytest.mark.slow
def test_pictures_of_a_folder(artefacts, verify, tmp_path):
    (tmp_path / "pictures" / "class").mkdir(parents=True)
    for n, image in enumerate(rgb_images(3, (40, 50))):
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "pictures" / "class" / f"{n}.png")
    status, report = verify(
        artefacts["model.keras"],
        artefacts["model.onnx"],
        f"--images={tmp_path / 'pictures'}",
        layers=False,
    )
    assert (status, report["pictures"]) == (0, 3)
    first, last = (comparison_pictures(tmp_path, (32, 32), limit=limit) for limit in (1, 2))
    np.testing.assert_array_equal(first[0], last[0])
    np.testing.assert_array_equal(last, comparison_pictures(tmp_path, (32, 32))[[0, 2]])


@pytest.mark.parametrize(("size", "count"), [((32, 32), 64), ((64, 96), 16)])
def test_embedded_pictures_are_real_and_different(size, count):
    images = comparison_pictures(None, size)
    assert images.shape == (count, *size, 3)
    assert images.dtype == np.float32
    assert 0 <= images.min() < 20
    assert 200 < images.max() <= 255
    assert len({image.tobytes() for image in images}) == count


def foreign(path, size=(32, 32), classes=7):
    """A small network of others, as a `.keras` file."""
    inputs = keras.Input((*size, 3))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="dense")(x))
    levit_tf.with_properties(model, input_range="pixels").save(path)
    return path


def test_layers_that_cannot_be_matched_are_not_passed_over(verify, tmp_path, capsys):
    other = foreign(tmp_path / "other.keras")
    status, report = verify(other, other)
    assert status == 0
    assert report["layers"] == {}
    assert list(report["outputs"]) == ["probabilities"]
    assert "No layer has the same name in both files" in capsys.readouterr().out


def error_of(capsys, *arguments):
    assert call(command, arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    return captured.err


@pytest.mark.slow
def test_other_sizes_and_class_counts_are_named(artefacts, tmp_path, capsys):
    wide = foreign(tmp_path / "wide.keras", size=(32, 48))
    message = error_of(capsys, artefacts["model.onnx"], wide)
    assert "model.onnx takes pictures of 32x32 pixels" in message
    assert "wide.keras of 32x48" in message
    three = foreign(tmp_path / "three.keras", classes=3)
    message = error_of(capsys, three, artefacts["fp32.tflite"])
    assert "three.keras has 3 classes" in message
    assert "fp32.tflite 7" in message


@pytest.mark.parametrize(
    "name", ["model.keras", "fp32.tflite", "model.onnx", "timm.safetensors", "saved_model"]
)
def test_truncated_files_are_named(artefacts, tmp_path, name, capsys):
    if name == "saved_model":
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_bytes(b"\0" * 100)
    else:
        content = artefacts[name].read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    message = error_of(capsys, artefacts["model.onnx"], tmp_path / name)
    assert str(tmp_path / name) in message


def test_unknown_and_missing_files_list_what_is_known(artefacts, tmp_path, capsys):
    (tmp_path / "model.h5").write_bytes(b"\x89HDF")
    for path, said in ((tmp_path / "model.h5", "unknown kind"), ("no.keras", "no such file")):
        message = error_of(capsys, path, artefacts["model.keras"])
        assert said in message
        for kind in (".keras", "SavedModel", ".tflite", ".onnx", ".safetensors, .pth"):
            assert kind in message


def test_a_folder_without_pictures_is_named(artefacts, tmp_path, capsys):
    pair = (artefacts["model.onnx"], artefacts["model.onnx"])
    assert "no pictures in" in error_of(capsys, *pair, f"--images={tmp_path}")
    assert "no such folder" in error_of(capsys, *pair, f"--images={tmp_path / 'none'}")


def fake(outputs, layers=None, batch=None):
    """An artefact that returns the same for all pictures."""

    def repeated(arrays):
        return lambda images: {k: np.repeat(v[None], len(images), 0) for k, v in arrays.items()}

    shapes = {name: (batch, *array.shape) for name, array in outputs.items()}
    network = Network("fake", repeated(outputs), (batch, 2, 2, 3), shapes)
    return Artefact("fake", "fake", FLOAT32, network, repeated(outputs), repeated(layers or {}))


PROBABILITIES = {"probabilities": np.array([0.5, 0.5], np.float32)}


def test_differences_are_what_they_are_called():
    a = fake({"logits": np.array([3.0, 4.0]), **PROBABILITIES})
    b = fake({"logits": np.array([3.0, 3.0]), **PROBABILITIES}, batch=3)
    found = compare_outputs(a, b, np.zeros((10, 2, 2, 3), np.float32))
    logits = found.outputs["logits"]
    assert (logits.maximum, logits.mean, logits.relative) == (1.0, 0.5, 0.25)
    np.testing.assert_allclose(logits.cosine, 21 / (5 * np.sqrt(18)))
    assert (found.pictures, found.same_top1) == (10, 10)
    assert found.within(0.25)
    assert not found.within(0.2)


def test_a_file_without_probabilities_has_those_of_its_logits():
    a, b = fake({"logits": np.array([1.0, 1.0])}), fake(PROBABILITIES)
    found = compare_outputs(a, b, np.zeros((2, 2, 2, 3), np.float32))
    assert found.deciding == "probabilities"
    assert found.within(1e-6)


def test_nan_is_never_within_the_tolerance():
    a = fake({"logits": np.array([1.0, 2.0]), **PROBABILITIES})
    b = fake({"logits": np.array([1.0, np.nan]), **PROBABILITIES}, {"x": np.array([np.nan])})
    found = compare_outputs(a, b, np.zeros((2, 2, 2, 3), np.float32))
    assert not found.within(1e9)
    layers = compare_layers(
        fake(PROBABILITIES, {"x": np.ones(1), "y": np.ones(2)}),
        fake(PROBABILITIES, {"x": np.array([np.nan]), "z": np.ones(2)}),
        np.zeros((2, 2, 2, 3), np.float32),
        found,
    )
    assert layers.first_beyond(1e9) == "x"
    assert (layers.only_a, layers.only_b) == (["y"], ["z"])


@pytest.mark.parametrize(
    ("reference", "export", "message"),
    [
        ([np.nan, np.nan], [np.nan, np.nan], "not written: keras itself returns NaN"),
        ([1.0, 2.0], [np.inf, 2.0], "not written: it returns NaN or infinity where"),
    ],
)
@pytest.mark.parametrize("precision", [FLOAT32, INT8])
def test_networks_that_answer_nan_are_not_written(reference, export, message, precision):
    a, b = (fake({"logits": np.array(logits)}) for logits in (reference, export))
    a, b = dataclasses.replace(a, source="keras"), dataclasses.replace(b, precision=precision)
    images = np.zeros((2, 2, 2, 3), np.float32)
    found = compare_outputs(a, b, images)
    assert not found.is_close(1e9, is_exact=False)
    with pytest.raises(ValueError, match=message):
        check_export(a, b, images, 1e9, "out")
    with pytest.raises(ValueError, match=message):
        compare_with_keras(b, Path("out"), a, images, None)


@pytest.mark.parametrize(
    ("here", "there", "found"),
    [
        (("ant", "bee"), ("bee", "ant"), "class 0 is 'ant' in fake and 'bee' in fake"),
        (("no", "yes"), ("maybe",), "class 1 is 'yes' in fake and 'maybe' in fake"),
        (("no", "yes"), ("yes",), None),
        (("ant", "bee"), None, None),
    ],
)
def test_the_first_class_of_another_name_is_told(here, there, found):
    files = [fake(PROBABILITIES), fake(PROBABILITIES)]
    files = [
        dataclasses.replace(file, network=dataclasses.replace(file.network, class_names=names))
        for file, names in zip(files, (here, there), strict=True)
    ]
    assert differing_class_names(*files) == found


def test_class_names_in_another_order_are_a_difference(verify, tmp_path, capsys):
    for name, names in (("a", ["ant", "bee"]), ("b", ["bee", "ant"])):
        model = keras.Sequential(
            [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
        )
        model.layers[-1].kernel.assign(keras.ops.ones((32 * 32 * 3, 2)))
        model = levit_tf.with_properties(model, input_range="unit", class_names=names)
        model.save(tmp_path / f"{name}.keras")
    code, report = verify(tmp_path / "a.keras", tmp_path / "b.keras")
    assert code == 1
    assert report["class_names_differ"].startswith("class 0 is 'ant' in ")
    assert "class names differ: class 0 is 'ant'" in capsys.readouterr().out


def test_the_output_that_is_nan_decides():
    a = fake({"x": np.ones(2), "y": np.array([1.0, np.nan])})
    found = compare_outputs(a, a, np.zeros((2, 2, 2, 3), np.float32))
    assert found.deciding == "y"
    assert not found.within(1e9)


def test_an_export_that_lacks_an_output_is_not_written():
    a = fake({"logits": np.ones(2), "embedding": np.ones(4)})
    images = np.zeros((2, 2, 2, 3), np.float32)
    with pytest.raises(ValueError, match="no output 'embedding', which the Keras model has"):
        check_export(a, fake(PROBABILITIES), images, 1e9, "out")
    check_export(fake({"logits": np.ones(2)}), fake(PROBABILITIES), images, 1e-4, "out")


def test_layers_of_other_shapes_are_where_networks_part():
    images = np.zeros((1, 2, 2, 3), np.float32)
    a, b = fake(PROBABILITIES, {"x": np.ones((2, 2))}), fake(PROBABILITIES, {"x": np.ones(3)})
    layers = compare_layers(a, b, images, compare_outputs(a, b, images))
    assert layers.layers["x"] is None
    assert layers.first_beyond(1.0) == "x"


@pytest.mark.slow
def test_both_heads_of_a_training_network_are_averaged(tmp_path):
    model = make_model(heads="both")
    model.save(tmp_path / "both.keras")
    levit_tf.with_heads(model, "average").save(tmp_path / "average.keras")
    images = rgb_images(4)
    both, average = (
        keras_artefact(tmp_path / name).outputs(images) for name in ("both.keras", "average.keras")
    )
    for name in ("logits", "probabilities"):
        np.testing.assert_allclose(both[name], average[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("path", "layer", "block"),
    [
        ("deploy_1/LeViT_1/stem_conv2_1/BiasAdd", "stem_conv2", "stem_conv2"),
        ("deploy/LeViT/stem_conv2_pad_1/Pad", None, "stem_conv2"),
        (
            "stages_0_blocks_10_attn_add/Add",
            "stages_0_blocks_10_attn_add",
            "stages_0_blocks_10_attn",
        ),
        ("x/stages_1_downsample_attn_proj_1/y", *2 * ("stages_1_downsample_attn",)),
        ("x/stages_1_downsample_attn_q_1/y", None, "stages_1_downsample_attn"),
        ("stages_2_blocks_3_mlp_ln2", *2 * ("stages_2_blocks_3_mlp",)),
        ("x/classifier_1/MatMul", None, "classifier"),
        ("StatefulPartitionedCall:0", None, None),
    ],
)
def test_layers_are_recognised_by_name(path, layer, block):
    assert layer_in(path) == layer
    assert block_in(path) == block


@pytest.mark.slow
def test_the_command_ends_with_the_documented_exit_code(artefacts):
    done = run_process("converters.verify", artefacts["model.keras"], artefacts["fused.keras"])
    assert (done.returncode, done.stderr) == (0, "")


def test_one_file_is_misuse(artefacts, capsys):
    assert "Missing arguments: B" in error_of(capsys, artefacts["model.keras"])
