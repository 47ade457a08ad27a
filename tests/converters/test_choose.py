"""Of what a model can become the quickest is recommended that answers as the model does."""

import shlex

import numpy as np
import pytest

import levit_tf
from converters import choose as command
from converters.speed import choice
from converters.speed.candidates import CANDIDATES
from converters.speed.choice import Measured, choose
from levit_tf.prediction.network_files import read_network
from tests.support import commands
from tests.support.randomize import randomize_keras


def measured(name, ms, same=1.0, size=1_000):
    return Measured(name, ms, 0.01, same, size, 10_000)


def test_the_quickest_is_recommended():
    found = [measured("TFLite fp32", 3.0), measured("TFLite int8", 1.0, same=0.97)]
    assert choose(found, least_same=0.95).name == "TFLite int8"


def test_a_quick_file_that_answers_otherwise_is_not():
    found = [measured("TFLite fp32", 3.0), measured("TFLite int8", 1.0, same=0.9)]
    assert choose(found, least_same=0.95).name == "TFLite fp32"
    assert choose(found[1:], least_same=0.95) is None


def test_of_equally_quick_ones_the_closest_then_the_exact_then_the_smallest_is():
    quick = [measured("TFLite int8", 1.0, same=0.97), measured("TFLite fp32", 1.04)]
    assert choose(quick, 0.95).name == "TFLite fp32"
    same = [measured("TFLite dynamic", 1.0, size=10), measured("TFLite fp32", 1.04)]
    assert choose(same, 0.95).name == "TFLite fp32"
    exact = [measured("OpenVINO float32", 1.0), measured("TFLite fp32", 1.04, size=900)]
    assert choose(exact, 0.95).name == "TFLite fp32"


def test_each_place_has_its_candidates(monkeypatch):
    assert choice.names_for("tf-serving") == ["TensorFlow float32", "TensorFlow bfloat16"]
    assert all(name.startswith("TFLite") for name in choice.names_for("android"))
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    assert choice.missing_for("this-machine") == ["onnxruntime", "openvino"]
    assert "ONNX Runtime" not in choice.names_for("this-machine")


@pytest.fixture(scope="module")
def model():
    network = levit_tf.LeViT("LeViTTiny", classes=10)
    randomize_keras(network)
    return network


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch": 5}, "--batch=5: there are 4 pictures"), ({"threads": 1000}, "1000: this process")],
)
def test_what_cannot_be_measured_is_said_first(model, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        choice.measure(model, "android", np.zeros((4, 32, 32, 3)), tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_what_has_no_classes_is_refused(tmp_path):
    backbone = levit_tf.LeViT("LeViTTiny", include_top=False)
    with pytest.raises(ValueError, match="is no classifier"):
        choice.measure(backbone, "android", np.zeros((4, 32, 32, 3)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("is_other", [False, True])
def test_answers_are_held_against_the_model(model, is_other, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.float32)
    if is_other:  # a file that names the next class each time
        other = levit_tf.LeViT("LeViTTiny", classes=10)
        other.set_weights(model.get_weights())
        for weight in other.get_layer("classifier").weights:
            if weight.shape[-1] == 10:
                weight.assign(np.roll(weight, 1, axis=-1))
        CANDIDATES["TFLite fp32"].write(other, tmp_path / "fp32.tflite", images, {})
    (found,) = choice.measure(
        model, "android", images, tmp_path, names=["TFLite fp32"], turns=1, seconds=0
    )
    assert found.same == (0 if is_other else 1)
    assert found.ms > 0
    assert found.bytes == (tmp_path / "fp32.tflite").stat().st_size


@pytest.mark.parametrize("target", ["android", "tf-serving"])
def test_the_recommended_command_says_what_the_model_takes(
    target, model, tmp_path, monkeypatch, capsys
):
    names = choice.names_for(target)
    monkeypatch.setattr(choice, "measure", lambda *_, **__: [measured(names[0], 1.0)])
    path = tmp_path / "my model.keras"
    model.save(path)
    words = {f"--model={path}", "--input_range=normalized"}
    assert commands.call(command, [*words, f"--target={target}"]) == 0
    line = capsys.readouterr().out.rpartition("recommended: ")[2].splitlines()[1]
    assert words <= set(shlex.split(line))


@pytest.mark.slow
def test_the_command_that_is_recommended_makes_the_file(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model.save("my model.keras")
    arguments = ["--model=my model.keras", "--calibration=digits", "--turns=1", "--seconds=0.01"]
    assert commands.call(command, [*arguments, "--least_same=0"]) == 0
    printed = capsys.readouterr().out
    for name in choice.names_for("this-machine"):
        assert f"| {name} " in printed
    line = printed.rpartition("recommended: ")[2].splitlines()[1]
    _, _, module, *words = shlex.split(line)
    assert commands.call(commands.command_module(module), words) == 0
    (output,) = (word.partition("=")[2] for word in words if word.startswith("--output="))
    assert read_network(tmp_path / output).classes == 10
