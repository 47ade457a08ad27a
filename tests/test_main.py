"""The main job, end to end: one command leaves a folder of artefacts that agree."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import levit_tf
from levit_tf import digits
from levit_tf.predictor import load_predictor
from training.config import load_config
from training.run import run

# As in a user's terminal, whatever the tests themselves set.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
ARTEFACTS = ["final.keras", "fused.keras", "saved_model", "fp32.tflite", "int8.tflite"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and printed text of a short run."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "training.main", f"--output={folder}"),
            *("--set=epochs=3", "--set=warmup_epochs=0", "--set=batch_size=128"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert result.returncode == 0, result.stderr
    return folder, result


def test_the_folder_holds_everything(finished):
    folder, _ = finished
    expected = {*ARTEFACTS, "labels.txt", "config.json", "history.json", "artefacts.json"}
    expected |= {"fp32.tflite.json", "int8.tflite.json", "curves.png", "predictions.png"}
    assert {path.name for path in folder.iterdir()} == expected
    for name in ("curves.png", "predictions.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_the_config_is_printed_and_kept(finished):
    folder, result = finished
    config = json.loads((folder / "config.json").read_text())
    assert (config["epochs"], config["batch_size"], config["strategy"]) == (3, 128, "default")
    assert "epochs               3" in result.stdout


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


def test_the_final_network_is_the_train_form_with_averaged_heads(finished):
    folder, _ = finished
    model = levit_tf.LeViT("LeViTTiny", classes=10, weights=folder / "final.keras")
    assert np.shape(model.output) == (None, 10)


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        run(load_config("digits"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_wrong_setting_is_one_line(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "training.main", f"--output={tmp_path / 'a'}", "--set=epoch=1"],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: --set: unknown field 'epoch'. Did you mean 'epochs'?")
    assert not (tmp_path / "a").exists()
