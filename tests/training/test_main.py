"""The main job, end to end: one command leaves a folder of artefacts that agree."""

import csv
import json
import re

import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from levit_tf.pictures import digits
from levit_tf.prediction.predictor import load_predictor
from tests.support.commands import call, run_process
from tests.support.training.data_cases import broken_png, write_folder
from training import main as command
from training.config import load_config, override
from training.failures import WorkerLostError, other_workers_explained
from training.run import run

ARTEFACTS = ["final.keras", "fused.keras", "saved_model", "fp32.tflite", "int8.tflite"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and printed text of a short run."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    result = run_process(
        *("training.main", f"--output={folder}", "--set=epochs=3", "--set=warmup_epochs=0"),
        *("--set=batch_size=128", "--set=learning_rate=0.008"),
    )
    assert result.returncode == 0, result.stderr
    return folder, result


def test_the_folder_holds_everything(finished):
    folder, _ = finished
    expected = {*ARTEFACTS, "best.keras", "labels.txt", "config.json", "artefacts.json"}
    expected |= {"fp32.tflite.json", "int8.tflite.json", "curves.png", "predictions.png"}
    expected |= {"log.json", "log.csv", "tensorboard", "checkpoints", "result.json"}
    expected |= {"run.json"}
    assert {path.name for path in folder.iterdir()} == expected
    for name in ("curves.png", "predictions.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_what_the_data_set_holds_is_said_first(finished):
    _, result = finished
    first, second, *_ = result.stdout.splitlines()
    assert first.startswith("digits: 1,797 pictures, 10 classes: ")
    assert second == "  held out: 360"


def test_the_config_is_printed_and_kept(finished):
    folder, result = finished
    config = json.loads((folder / "config.json").read_text())
    assert (config["epochs"], config["batch_size"]) == (3, 128)
    assert re.search(r"^epochs +3$", result.stdout, re.MULTILINE)


def test_the_table_names_every_artefact_and_they_agree(finished):
    folder, result = finished
    reports = json.loads((folder / "artefacts.json").read_text())
    assert [report["name"] for report in reports] == ARTEFACTS
    for report in reports:
        assert f"| {report['name']}" in result.stdout
        assert report["agreement"] >= (0.95 if report["name"] == "int8.tflite" else 1)
        assert report["bytes"] > 100_000


def test_artefacts_know_their_class_names(finished):
    folder, _ = finished
    for name in ARTEFACTS:
        assert load_predictor(folder / name).class_names == list(digits.CLASS_NAMES)


def test_the_terminal_is_quiet(finished):
    _, result = finished
    lines = [line for line in result.stderr.splitlines() if "XNNPACK delegate" not in line]
    assert lines == []


@pytest.mark.parametrize("name", ["final.keras", "best.keras"])
def test_the_last_and_the_best_network_are_in_train_form(finished, name):
    folder, _ = finished
    path = folder / name
    model = levit_tf.LeViT("LeViTTiny", classes=10, heads="single", weights=path)
    assert np.shape(model.output) == (None, 10)


def test_the_log_has_a_row_for_each_epoch(finished):
    folder, result = finished
    rows = json.loads((folder / "log.json").read_text())
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 11), (2, 22), (3, 33)]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["top1"] > 0.5
    for row in rows:
        assert 0 <= row["data_wait"] <= 1
        assert f"epoch {row['epoch']}/3 11/11, loss {row['loss']:.4f}" in result.stdout
    with open(folder / "log.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(line["loss"]) for line in table] == [row["loss"] for row in rows]


def test_tensorboard_has_the_figures_and_augmented_pictures(finished):
    folder, _ = finished
    (path,) = (folder / "tensorboard").iterdir()
    kinds = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            kinds.setdefault(value.tag, []).append(event.step)
    assert kinds["loss"] == kinds["top1"] == [11, 22, 33]
    assert kinds["augmented"] == [0]


@pytest.mark.slow
def test_a_finished_run_is_exported_again_without_training(finished):
    folder, _ = finished
    (folder / "fp32.tflite").unlink()
    settings = ["epochs=3", "warmup_epochs=0", "batch_size=128", "learning_rate=0.008"]
    before = (folder / "log.json").read_text()
    assert run(override(load_config("digits"), settings), folder)
    assert (folder / "fp32.tflite").exists()
    assert (folder / "log.json").read_text() == before


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        run(load_config("digits"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_a_tpu_the_message_names_what_to_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TPU_NAME", "")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    assert call(command, [f"--output={tmp_path / 'a'}", "--strategy=tpu"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: --strategy=tpu found no TPU.")
    for name in ("TPU_NAME", "--tpu=", "--tpu_zone", "--gcp_project"):
        assert name in errors
    assert not (tmp_path / "a").exists()


def test_a_wrong_setting_is_one_line(tmp_path, capsys):
    assert call(command, [f"--output={tmp_path / 'a'}", "--set=epoch=1"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: --set: unknown field 'epoch'. Did you mean 'epochs'?")
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "a").exists()


def test_strict_ends_at_a_damaged_picture_with_its_name(tmp_path, capsys):
    pictures = write_folder(tmp_path / "pictures", 2, parts=("train", "test"))
    (pictures / "train" / "ant" / "01.jpg").write_bytes(broken_png(51))
    settings = (f"dataset=imagefolder:{pictures}", "strict=true", "batch_size=6", "repeats=1")
    arguments = [f"--output={tmp_path / 'a'}", *(f"--set={setting}" for setting in settings)]
    assert call(command, arguments) == 1
    assert "train/ant/01.jpg: truncated or damaged" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (tf.errors.UnavailableError, WorkerLostError),
        (tf.errors.InvalidArgumentError, tf.errors.InvalidArgumentError),
        (tf.errors.ResourceExhaustedError, tf.errors.ResourceExhaustedError),
    ],
)
def test_only_errors_of_connections_are_those_of_a_lost_worker(tmp_path, error, expected):
    # One that can be used would need a process of its own.
    strategy = object.__new__(tf.distribute.MultiWorkerMirroredStrategy)
    with pytest.raises(expected), other_workers_explained(strategy, tmp_path):
        raise error(None, None, "it says why")


def test_a_lack_of_memory_in_the_export_is_not_explained_by_the_batch(tmp_path, monkeypatch):
    def exhausted(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")

    monkeypatch.setattr("training.run.train", lambda *_: True)
    monkeypatch.setattr("training.run.write_artefacts", exhausted)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        run(load_config("digits"), tmp_path / "a")


def test_a_lack_of_memory_is_one_line_with_settings_that_help(tmp_path, monkeypatch, capsys):
    def exhausted(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor\nmore")

    monkeypatch.setattr("training.run.fit", exhausted)
    arguments = [f"--output={tmp_path / 'a'}", "--set=batch_size=64", "--set=accumulate=2"]
    assert call(command, arguments) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: There is not enough memory for batch_size=64 in 2 parts.")
    assert "--set=accumulate=4" in last
    assert last.endswith("(ResourceExhaustedError: OOM when allocating a tensor)")
