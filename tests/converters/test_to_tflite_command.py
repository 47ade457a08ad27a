"""TFLite export: refusals that help, and the command."""

import json
from pathlib import Path

import keras
import pytest

import levit_tf
from converters import to_onnx, to_saved_model
from converters import to_tflite as to_tflite_command
from converters import verify as verify_command
from converters.to_tflite import to_tflite
from levit_common.regular_files import ModelFileError
from levit_tf.prediction.predictor import load_predictor
from levit_tf.preprocessing import preprocess_input
from serving.web_app.site import write_site
from tests.support.commands import call
from tests.support.export_cases import CLASSES, rgb_images, shared_model


@pytest.fixture(scope="module")
def model():
    return shared_model(classifier_activation=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "int4"}, r"Unknown recipe 'int4'. Known:\n  fp32: (.*\n)+  int8: "),
        ({"recipe": "int8"}, r"needs calibration data.*--calibration: digits, photographs \(emb"),
        ({"recipe": "int8_full"}, r"'int8_full' needs calibration data"),
        ({"outputs": "scores"}, "one of probabilities, logits, both. Received: 'scores'"),
        ({"io_dtype": "uint8"}, "'fp32' has an input and outputs of type float32. Received: 'uint"),
        ({"recipe": "int8_full", "io_dtype": "int16"}, "type uint8 or int8. Received: 'int16'"),
        ({"class_names": ["a", "b"]}, "2 class names for a model of 7 classes"),
        (
            {"recipe": "int8", "calibration_images": rgb_images(1, (48, 48))},
            r"must have shape \(n, 32, 32, 3\).* Received: \(1, 48, 48, 3\)",
        ),
        (
            {"recipe": "int8", "calibration_images": preprocess_input(rgb_images(1))},
            "plain pixels 0..255, not normalised",
        ),
        (
            {"recipe": "int8", "calibration_images": rgb_images(1) / 255},
            "plain pixels 0..255, not normalised",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(model, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_tflite(model, tmp_path / "out.tflite", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_model_that_does_not_say_what_it_takes_is_refused_in_words(kind, tmp_path):
    stack = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(CLASSES)]
    other = keras.Sequential([keras.Input((32, 32, 3)), *stack], name="other")
    if kind == "functional":
        other = keras.Model(other.inputs, other.outputs[0], name="other")
    with pytest.raises(ValueError, match="Model 'other': nothing in the model says what its input"):
        to_tflite(other, tmp_path / "out.tflite")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(model, tmp_path):
    path = tmp_path / "out.tflite"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        to_tflite(model, path)
    assert path.read_text() == "precious"
    with pytest.raises(ValueError, match=r"ending in \.tflite"):
        to_tflite(model, tmp_path / "out.bin")


def test_a_folder_that_cannot_be_written_to_is_named(model, tmp_path):
    (tmp_path / "file").write_text("no folder")
    message = r"file/out\.tflite: its folder cannot be written to \(File exists\)"
    with pytest.raises(OSError, match=message):
        to_tflite(model, tmp_path / "file" / "out.tflite")


def arguments_for(folder, *options):
    model, output = folder / "model.keras", folder / "out.tflite"
    return [f"--model={model}", f"--output={output}", *options]


def test_the_command_converts_a_network_of_features(model, tmp_path, run_command):
    keras.Model(model.input, model.get_layer("pre_logits").output).save(tmp_path / "model.keras")
    result = run_command("converters.to_tflite", *arguments_for(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "pictures pre_logits differ by" in result.stdout


def test_the_command_takes_the_folder_of_a_run(tmp_path, capsys):
    dense = keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), dense])
    model = levit_tf.with_properties(model, input_range="unit")
    run, output = tmp_path / "run", tmp_path / "out.tflite"
    run.mkdir()
    model.save(run / "final.keras")
    assert call(to_tflite_command, [f"--model={run}", f"--output={output}"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count(f"taken: {run / 'final.keras'}") == 1
    assert json.loads(Path(f"{output}.json").read_text())["source"]["file"] == "final.keras"


@pytest.mark.parametrize("command", [to_tflite_command, to_onnx, to_saved_model])
@pytest.mark.parametrize("is_given", [True, False])
def test_a_file_of_too_few_class_names_is_named(tmp_path, capsys, command, is_given):
    stack = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((16, 16, 3)), *stack])
    levit_tf.with_properties(model, input_range="unit").save(tmp_path / "model.keras")
    labels = tmp_path / ("names.txt" if is_given else "labels.txt")
    labels.write_text("ant\nbee\n")
    suffix = {to_tflite_command: ".tflite", to_onnx: ".onnx"}.get(command, "")
    arguments = [f"--model={tmp_path / 'model.keras'}", f"--output={tmp_path / 'out'}{suffix}"]
    assert call(command, arguments + [f"--labels={labels}"] * is_given) == 1
    error = capsys.readouterr().err
    assert error == f"error: {labels}: 2 class names for a model of 3 classes.\n"


def test_the_command_converts_a_variant_with_the_weights_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(to_tflite_command, ["--model=LeViTMini", "--output=mini.tflite"]) == 0
    assert json.loads(Path("mini.tflite.json").read_text())["source"] == {"name": "LeViTMini"}
    assert "tench" in load_predictor("mini.tflite").class_names
    assert call(verify_command, ["LeViTMini", "mini.tflite", "--limit=2"]) == 0


def test_the_command_calibrates_networks_of_one_channel(tmp_path):
    dense = keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten(), dense])
    levit_tf.with_properties(model, input_range="unit").save(tmp_path / "model.keras")
    arguments = arguments_for(tmp_path, "--recipe=int8", "--calibration=digits")
    assert call(to_tflite_command, arguments) == 0
    predictor = load_predictor(tmp_path / "out.tflite")
    assert predictor.predict(rgb_images(2)).shape == (2, 3)
    with pytest.raises(ModelFileError, match="takes 1 channel; the page gives it RGB"):
        write_site(tmp_path / "out.tflite", tmp_path / "site")


@pytest.mark.slow
def test_the_command_takes_labels_from_beside_the_model(model, tmp_path, run_command):
    model.save(tmp_path / "model.keras")
    names = [f"name {n}" for n in range(CLASSES)]
    (tmp_path / "labels.txt").write_text("\n".join(names))
    arguments = arguments_for(tmp_path, "--recipe=fp16", "--outputs=both")
    result = run_command("converters.to_tflite", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"written: {tmp_path / 'out.tflite'}, 0.")
    assert b"\n".join(name.encode() for name in names) in (tmp_path / "out.tflite").read_bytes()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, ["--recipe=int8"], "Recipe 'int8' needs calibration data"),
        (b"PK truncated", [], "truncated, or not a .keras file"),
    ],
)
def test_the_command_reports_errors_in_one_line(model, content, options, message, tmp_path, capsys):
    if content is None:
        model.save(tmp_path / "model.keras")
    else:
        (tmp_path / "model.keras").write_bytes(content)
    assert call(to_tflite_command, arguments_for(tmp_path, *options)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out.tflite").exists()


def test_labels_in_the_working_folder_are_not_those_of_a_variant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("\n".join(f"other {n}" for n in range(10)))
    assert call(to_tflite_command, ["--model=LeViTMini", "--output=mini.tflite"]) == 0
    Path("labels.txt").unlink()
    assert "tench" in load_predictor("mini.tflite").class_names
