"""What dynamic tools cannot do is one line that says why, and nothing half-written is left."""

import gzip
import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

import levit_tf
from converters import recalibrate, to_dynamic
from converters.dynamic import recalibration
from converters.dynamic.record import check_models
from levit_tf.pictures.labelled_pictures import LabelledPictures
from levit_tf.pictures.run_pictures import (
    PICTURES_FILE,
    SeenPicture,
    picture_key,
    seen_in_training,
    write_seen,
)
from tests.support.commands import call
from tests.support.randomize import randomize_keras, with_random_exits
from training import evaluate

NAMES = ["ant", "bee", "cat"]
SIDE = 64


def network(variant="LeViTNano", names=NAMES):
    model = levit_tf.LeViT(variant, classes=len(names), input_shape=SIDE)
    randomize_keras(model)
    return levit_tf.with_properties(model, class_names=names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir()
        for number in range(4):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run whose training has seen other pictures."""
    root = tmp_path_factory.mktemp("run")
    with_random_exits(network()).save(root / "final.keras")
    with gzip.open(root / PICTURES_FILE, "wt") as file:
        file.write(json.dumps(["training", "train/ant/other.png", 0, 5]) + "\n")
    return root


@pytest.fixture
def said(capsys):
    """Runs a command that must fail, and returns its only line of error."""

    def run(command, *arguments):
        assert call(command, arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


@pytest.fixture(scope="module")
def written(tmp_path_factory, run, folder):
    """A folder of files that keep to a time that is never reached, from twelve pictures."""
    out = tmp_path_factory.mktemp("written") / "out"
    arguments = [
        f"--models={run / 'final.keras'}",
        f"--calibration=imagefolder:{folder}",
        "--formats=onnx",
    ]
    assert call(to_dynamic, [*arguments, "--budget_ms=100000", f"--output={out}"]) == 0
    return out


@pytest.mark.slow
def test_a_budget_needs_no_epsilon_and_is_in_every_record(written, run, capsys):
    model = keras.models.load_model(run / "final.keras")
    assert check_models(written, [model], ["final.keras"]) is None
    calibrations = json.loads((written / "dynamic.json").read_text())["calibration"]
    assert set(calibrations) == {"fp32", "model.onnx"}
    assert calibrations["fp32"] == calibrations["model.onnx"]
    assert calibrations["fp32"]["thresholds"] == [2.0, 2.0]  # no need to leave early
    assert len(calibrations["fp32"]["curve"]) == 1


@pytest.mark.slow
def test_a_budget_that_no_path_meets_leaves_nothing(said, run, folder, tmp_path):
    arguments = [
        f"--models={run / 'final.keras'}",
        f"--calibration=imagefolder:{folder}",
        "--formats=onnx",
    ]
    line = said(to_dynamic, *arguments, "--budget_ms=1e-6", f"--output={tmp_path / 'out'}")
    assert "error: --budget_ms=1e-06: nothing keeps to it: the shortest path takes" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_pictures_that_training_has_seen_are_refused_for_a_written_file_too(
    said, written, folder, tmp_path
):
    path, seen = written / "model.onnx", folder / "bee" / "2.png"
    assert ("ant/other.png", 5) in seen_in_training(path)
    before = path.read_bytes(), (written / PICTURES_FILE).read_bytes()
    one = SeenPicture(written / PICTURES_FILE, "train/bee/2.png")
    (tmp_path / "parts").mkdir()
    folder = shutil.copytree(folder, tmp_path / "parts" / "test").parent
    write_seen(written, {picture_key(seen, seen.stat().st_size): [one]})
    line = said(recalibrate, f"--file={path}", f"--calibration=imagefolder:{folder}")
    assert f"1 of 12 pictures are among those that training has seen ({written}" in line
    (written / PICTURES_FILE).write_bytes(before[1])
    line = said(recalibrate, f"--file={path}", f"--calibration=imagefolder:{folder}")
    assert "12 calibration pictures are too few for epsilon=0.01" in line
    assert path.read_bytes() == before[0]


def test_the_pictures_of_training_are_listed_beside_what_is_made_of_the_network(tmp_path):
    files = {("ant/ä.png", 3): "data/train/ant/ä.png", ("bee/1.png", 4): "data/train/bee/1.png"}
    listed_in = tmp_path / PICTURES_FILE
    seen = {key: [SeenPicture(listed_in, file)] for key, file in files.items()}
    write_seen(tmp_path, seen)
    (tmp_path / "int8.tflite").write_bytes(b"")
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"")
    for name in ("", "int8.tflite", "saved_model"):
        assert seen_in_training(tmp_path / name) == seen


def test_a_saved_model_in_which_the_command_runs_is_refused_before_any_work(
    folder, tmp_path, monkeypatch
):
    pictures = LabelledPictures(str(folder), (), np.zeros(0, np.int64), (SIDE, SIDE))
    monkeypatch.chdir(tmp_path)
    for start in (
        lambda: recalibration.recalibrate(".", pictures),
        lambda: recalibration.set_by_hand(".", [0.5]),
    ):
        with pytest.raises(ValueError, match=rf"{tmp_path}: this command runs in this folder"):
            start()


@pytest.mark.slow
def test_a_cascade_of_other_labels_leaves_nothing(said, folder, tmp_path):
    paths = [tmp_path / "a.keras", tmp_path / "b.keras"]
    network("LeViTTiny").save(paths[0])
    arguments = [
        *(f"--models={paths[0]},{paths[1]}", f"--calibration=imagefolder:{folder}"),
        *("--epsilon=0.3", f"--output={tmp_path / 'out'}"),
    ]
    network(names=NAMES[::-1]).save(paths[1])
    line = said(to_dynamic, *arguments)
    assert "have the same labels: class 0 is 'ant' in LeViTTiny and 'cat' in LeViTNano" in line
    network(names=NAMES[:2]).save(paths[1])
    assert "64x64x3 and knows 3, LeViTNano takes 64x64x3 and knows 2" in said(
        to_dynamic, *arguments
    )
    network().save(paths[1])
    assert "12 calibration pictures are too few for epsilon=0.001" in said(
        to_dynamic, *arguments, "--epsilon=0.001"
    )
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            lambda: levit_tf.LeViT("LeViTNano", include_top=False, input_shape=SIDE),
            "levit_tf.reset_classifier",
        ),
        (lambda: levit_tf.with_input_size(network(), None), "levit_tf.with_input_size"),
    ],
    ids=["headless", "every_size"],
)
def test_a_network_that_cannot_have_steps_is_refused(said, folder, tmp_path, changed, message):
    changed().save(tmp_path / "a.keras")
    arguments = [f"--models={tmp_path / 'a.keras'}", f"--calibration=imagefolder:{folder}"]
    arguments += ["--epsilon=0.3", f"--output={tmp_path / 'out'}"]
    assert message in said(to_dynamic, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]


@pytest.mark.slow
def test_networks_beside_one_that_is_not_dynamic_are_refused(said, folder, tmp_path):
    path = tmp_path / "a.keras"
    network().save(path)
    line = said(evaluate, f"--model={path}", f"--dataset=imagefolder:{folder}", "--beside=b.onnx")
    assert line == (
        f"error: --beside: networks to compare with a dynamic file, and {path} is none. Evaluate "
        "each by itself."
    )


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (to_dynamic, ["--models="], "--models: expected at least one"),
        (to_dynamic, ["--formats="], "--formats: expected at least one"),
        (recalibrate, ["--thresholds=1.5,0.5"], "between 0 and 1. Received: '1.5'"),
        (recalibrate, ["--thresholds=0.5,0"], "between 0 and 1. Received: '0'"),
        (recalibrate, ["--thresholds=nan"], "between 0 and 1. Received: 'nan'"),
        (recalibrate, ["--thresholds=high"], "between 0 and 1. Received: 'high'"),
        (recalibrate, ["--thresholds=0.5", "--budget_ms=3"], "give --calibration, not"),
        (recalibrate, [], "Give one of --calibration and --thresholds"),
    ],
)
def test_flags_that_cannot_work_are_refused(said, command, arguments, message, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    given = [f"--file={tmp_path / 'a.onnx'}"]
    if command is to_dynamic:
        given = [f"--models={tmp_path / 'a.onnx'}", "--calibration=imagefolder:x"]
        given.append(f"--output={tmp_path / 'out'}")
    assert message in said(command, *given, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
