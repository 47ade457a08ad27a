"""The first hour of a newcomer, by the commands that the README shows, on files with odd names.

A folder of pictures, a fine-tuned network, its accuracy, its answers by every tool and in every
format, a server and a client: at each station the accuracy, the names of the classes and the
answers are looked at.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.serving_process import MODEL, server
from levit_tf.pictures import digits
from levit_tf.pictures.images import load_images
from levit_tf.prediction.predictor import load_predictor

pytestmark = pytest.mark.slow

# Five digits under names as folders have them; their order is not that of the digits.
CLASSES = {"Zebra fünf": 5, "a six": 6, "Sieben_7": 7, "8, acht": 8, "nine's": 9}
NAMES = sorted(CLASSES)
PER_CLASS = 60
TEST_PER_CLASS = 30
# Chance is 20 %, and the network begins with a fresh head.
LOWEST_TOP1 = 0.85


class Hour(NamedTuple):
    """What the commands have left.

    Attributes:
      pictures: a folder of class folders, to learn from.
      unseen: another, to try the network on.
      run: the folder of the fine-tuned network.
      output: what its training printed.
    """

    pictures: Path
    unseen: Path
    run: Path
    output: str


def command(module: str, *arguments: str) -> str:
    """What a command prints; it must succeed."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, f"{module} {arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def write_pictures(folder: Path, images: np.ndarray, labels: np.ndarray, count: int) -> None:
    for name, label in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for n, image in enumerate(images[labels == label][:count]):
            # Larger than the network's input and not square, as pictures are.
            picture = Image.fromarray(image).resize((64, 64)).crop((-8, 0, 72, 64))
            picture.save(folder / name / f"Bild {n} (ü).{'JPG' if n % 2 else 'png'}", quality=95)


@pytest.fixture(scope="module")
def hour(tmp_path_factory) -> Hour:
    folder = tmp_path_factory.mktemp("my first hour")
    base = folder / "digits run"
    command("training.main", f"--output={base}", "--set=epochs=12")
    (train_images, train_labels), (test_images, test_labels) = digits.load_data()
    pictures, unseen, run = folder / "my pictures", folder / "others'", folder / "mine"
    write_pictures(pictures, train_images, train_labels, PER_CLASS)
    write_pictures(unseen, test_images, test_labels, TEST_PER_CLASS)
    (pictures / "a six" / "notes.txt").write_text("no picture")
    output = command(
        "training.main",
        f"--output={run}",
        "--config=imagefolder",
        f"--set=dataset=imagefolder:{pictures}",
        "--set=variant=LeViTTiny",
        f"--set=init_from={base / 'final.keras'}",
        "--set=epochs=3",
        "--set=batch_size=16",
    )
    return Hour(pictures, unseen, run, output)


ARTEFACTS = ["final.keras", "fused.keras", "saved_model", "fp32.tflite", "int8.tflite"]


def test_training_says_what_it_found(hour):
    assert "5 classes" in hour.output
    assert all(name in hour.output for name in NAMES)


def test_the_readme_line_learns(hour):
    reports = {r["name"]: r for r in json.loads((hour.run / "artefacts.json").read_text())}
    assert sorted(reports) == sorted(ARTEFACTS)
    for name, report in reports.items():
        assert report["top1"] >= LOWEST_TOP1, name


@pytest.mark.parametrize("name", ["fused.keras", "int8.tflite"])
def test_evaluation_counts_all_unseen_pictures(hour, name):
    output = command(
        "training.evaluate",
        f"--model={hour.run / name}",
        f"--dataset=imagefolder:{hour.unseen}",
    )
    row = next(line for line in output.splitlines() if line.startswith(f"| {name}"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert int(cells[2]) == TEST_PER_CLASS * len(CLASSES)
    assert float(cells[3]) >= 100 * LOWEST_TOP1


@pytest.mark.parametrize("name", ["final.keras", "saved_model", "fp32.tflite"])
def test_classify_names_the_class(hour, name):
    picture = hour.unseen / "nine's" / "Bild 0 (ü).png"
    output = command("levit_tf.classify", f"--model={hour.run / name}", "--top=5", picture)
    found = dict(re.findall(r"([\d.]+) %  (.*)", output))
    assert sorted(found.values()) == NAMES
    expected = _expected(hour, picture)
    assert found[f"{100 * expected.max():.2f}"] == NAMES[expected.argmax()]


@pytest.mark.parametrize("name", ARTEFACTS)
def test_names_are_in_the_files_themselves(hour, name, tmp_path):
    alone = tmp_path / name
    (hour.run / name).rename(alone)  # away from the labels.txt of the run
    try:
        assert load_predictor(alone).class_names == NAMES
    finally:
        alone.rename(hour.run / name)


def test_mediapipe_says_the_same(hour):
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    from mediapipe.tasks.python import BaseOptions, vision

    path = hour.run / "fp32.tflite"
    picture = hour.unseen / "a six" / "Bild 1 (ü).JPG"
    (image,) = load_images([picture], (32, 32))
    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(path)))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        packed = mediapipe.Image(mediapipe.ImageFormat.SRGB, image.astype(np.uint8))
        (head,) = classifier.classify(packed).classifications
    found = {category.category_name: category.score for category in head.categories}
    expected = dict(zip(NAMES, _expected(hour, picture), strict=True))
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_client_gets_the_same_from_a_server(hour, tmp_path):
    repository = tmp_path / "my models"
    command(
        "serving.export",
        f"--model={hour.run / 'final.keras'}",
        f"--name={MODEL}",
        f"--repository={repository}",
    )
    picture = hour.unseen / "8, acht" / "Bild 2 (ü).png"
    with server(repository) as running:
        for address, *flag in ([running.grpc], [running.rest, "--rest"]):
            output = command(
                "serving.client", picture, f"--server={address}", f"--model={MODEL}", *flag
            )
            found = {name: float(p) for p, name in re.findall(r"([\d.]+) %  (.*)", output)}
            expected = dict(zip(NAMES, 100 * _expected(hour, picture), strict=True))
            assert found == pytest.approx(expected, abs=0.01)


def _expected(hour: Hour, picture: Path) -> np.ndarray:
    """Probabilities of Keras' own model, fed by hand."""
    import keras

    model = keras.models.load_model(hour.run / "final.keras")
    pixels = load_images([picture], (32, 32)).astype(np.float64)
    x = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.asarray(model(x.astype(np.float32), training=False))[0]
