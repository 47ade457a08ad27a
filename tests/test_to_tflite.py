"""TFLite export: the same answers as Keras, one XNNPACK partition, and refusals that help."""

import hashlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from converters.calibration import calibration_images
from converters.to_tflite import to_tflite
from levit_tf import digits
from levit_tf.predictor import load_predictor
from levit_tf.preprocessing import preprocess_input
from tests.export_cases import CLASSES, make_model, relative_error, rgb_images


@pytest.fixture(scope="module")
def model():
    return make_model(classifier_activation=None)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """The file of each recipe."""
    folder = tmp_path_factory.mktemp("tflite")
    paths = {recipe: folder / f"{recipe}.tflite" for recipe in ("fp32", "int8")}
    to_tflite(model, paths["fp32"])
    to_tflite(model, paths["int8"], recipe="int8", calibration_images=rgb_images(32, seed=3))
    return paths


def logits_of(path, images):
    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return np.concatenate([runner(images=image[None])["logits"] for image in images])


def ops_of(path):
    """(op, types of its outputs) for each node, the delegates last."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    types = {d["index"]: np.dtype(d["dtype"]).name for d in interpreter.get_tensor_details()}
    return [
        (op["op_name"], [types[n] for n in op["outputs"]]) for op in interpreter._get_ops_details()
    ]


def test_fp32_answers_are_those_of_keras(model, files):
    images = rgb_images(16)
    expected = model.predict(preprocess_input(images), verbose=0)
    assert relative_error(logits_of(files["fp32"], images), expected) < 1e-5


def test_int8_answers_stay_close_to_float(model, files):
    images = rgb_images(64)
    expected = model.predict(preprocess_input(images), verbose=0)
    found = logits_of(files["int8"], images)
    # An untrained network decides narrowly: the distance counts more than the winner.
    assert np.abs(found - expected).mean() < 0.05 * expected.std()
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.85


@pytest.mark.parametrize("recipe", ["fp32", "int8"])
def test_the_signature_is_the_documented_one(files, recipe):
    interpreter = Interpreter(model_path=str(files[recipe]))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["images"], "outputs": ["logits", "probabilities"]}
    }
    runner = interpreter.get_signature_runner("serving_default")
    outputs = runner(images=rgb_images(1))
    assert {name: (y.shape, y.dtype) for name, y in outputs.items()} == {
        "logits": ((1, CLASSES), np.float32),
        "probabilities": ((1, CLASSES), np.float32),
    }
    exponentials = np.exp(outputs["logits"])
    np.testing.assert_allclose(
        outputs["probabilities"], exponentials / exponentials.sum(), rtol=1e-5
    )


@pytest.mark.parametrize("recipe", ["fp32", "int8"])
def test_the_whole_network_is_one_xnnpack_partition(files, recipe):
    names = [name for name, _ in ops_of(files[recipe])]
    assert names.count("DELEGATE") == 1
    assert names[-1] == "DELEGATE"


def test_int8_has_all_convolutions_in_int8_and_the_attention_core_in_float(files):
    types = {}
    for name, outputs in ops_of(files["int8"]):
        types.setdefault(name, set()).update(outputs)
    assert types["CONV_2D"] == types["FULLY_CONNECTED"] == {"int8"}
    for name in ("BATCH_MATMUL", "SOFTMAX", "HARD_SWISH", "MUL"):
        assert types[name] == {"float32"}


def test_int8_weights_have_a_scale_for_each_channel(files):
    interpreter = Interpreter(model_path=str(files["int8"]))
    scales = [
        len(tensor["quantization_parameters"]["scales"])
        for tensor in interpreter.get_tensor_details()
        if len(tensor["shape"]) == 4 and tensor["dtype"] == np.int8 and tensor["shape"][0] > 1
    ]
    assert len(scales) > 20
    assert min(scales) > 1


def test_predictors_read_every_file(model, files):
    images = rgb_images(3)
    expected = keras.ops.softmax(model.predict(preprocess_input(images), verbose=0))
    for path in files.values():
        np.testing.assert_allclose(load_predictor(path).predict(images), expected, atol=0.1)


def test_a_json_beside_the_file_says_how_it_was_made(files):
    for recipe, path in files.items():
        about = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert about["recipe"] == recipe
        assert about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert about["calibration_images"] == (32 if recipe == "int8" else 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "int4"}, r"Unknown recipe 'int4'. Known:\n  fp32: .*\n  int8: "),
        ({"recipe": "int8"}, r"needs calibration data.*--calibration: digits \(embedded\)"),
        ({"calibration_images": rgb_images(1)}, "'fp32' needs no calibration data"),
        (
            {"recipe": "int8", "calibration_images": rgb_images(1, (48, 48))},
            r"must have shape \(n, 32, 32, 3\).* Received: \(1, 48, 48, 3\)",
        ),
        (
            {"recipe": "int8", "calibration_images": preprocess_input(rgb_images(1))},
            "plain RGB 0..255, not normalised",
        ),
        (
            {"recipe": "int8", "calibration_images": rgb_images(1) / 255},
            "plain RGB 0..255, not normalised",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(model, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_tflite(model, tmp_path / "out.tflite", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(model, tmp_path):
    path = tmp_path / "out.tflite"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        to_tflite(model, path)
    assert path.read_text() == "precious"
    with pytest.raises(ValueError, match=r"ending in \.tflite"):
        to_tflite(model, tmp_path / "out.bin")


def test_calibration_pictures_are_spread_over_the_training_digits():
    images = calibration_images("digits", (32, 32))
    (train, labels), _ = digits.load_data()
    assert images.shape == (128, 32, 32, 3)
    flat = {image.tobytes(): label for image, label in zip(train, labels, strict=True)}
    assert {flat[image.tobytes()] for image in images} == set(range(10))


def test_calibration_pictures_from_a_folder(tmp_path):
    from PIL import Image

    (tmp_path / "class").mkdir()
    Image.new("RGB", (70, 50), (10, 200, 30)).save(tmp_path / "class" / "a.png")
    images = calibration_images(f"imagefolder:{tmp_path}", (32, 48))
    assert images.shape == (1, 32, 48, 3)
    np.testing.assert_array_equal(images[0, 5, 5], [10, 200, 30])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("noise", "Unknown calibration data 'noise'. Expected digits"),
        ("imagefolder:/no/such/folder", "no such folder"),
    ],
)
def test_wrong_calibration_sources_are_named(source, message):
    with pytest.raises(ValueError, match=message):
        calibration_images(source, (32, 32))


def test_digits_do_not_calibrate_networks_of_another_size():
    with pytest.raises(ValueError, match="32x32 pixels; this one takes 224x224"):
        calibration_images("digits", (224, 224))


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(ValueError, match="no pictures in"):
        calibration_images(f"imagefolder:{tmp_path}", (32, 32))


def test_the_command_reports_errors_in_one_line(model, tmp_path):
    model.save(tmp_path / "model.keras")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "converters.to_tflite", "--recipe=int8"),
            *(f"--model={tmp_path / 'model.keras'}", f"--output={tmp_path / 'out.tflite'}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "error: Recipe 'int8' needs calibration data" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.tflite").exists()
