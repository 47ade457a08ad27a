"""What an evaluation says of a dynamic file, of answers that are known."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import levit_tf
from converters.dynamic.conversion import to_dynamic
from converters.dynamic.paths import Answer
from converters.dynamic.running import DynamicFile
from levit_common.arrays import softmax
from levit_tf.dynamic.exits import add_exits
from levit_tf.pictures.labelled_pictures import labelled_pictures
from tests.support.commands import call
from tests.support.randomize import randomize_keras
from tests.support.training.data_cases import CLASSES, write_folder
from training import evaluate as command
from training.data import Dataset
from training.data.sources import PixelSource
from training.evaluation.dynamic import evaluate_dynamic

SIZE = (8, 8)
# What two steps say to pictures of brightness 0 to 3, and what is right.
FIRST = np.float32([[9, 0, 0], [0, 1, 0], [9, 0, 0], [0, 0, 1]])
WHOLE = np.float32([[9, 0, 0], [0, 9, 0], [0, 9, 0], [9, 0, 0]])
LABELS = np.int32([0, 1, 1, 2])


def made_up_file(threshold=0.9):
    def answer(images, thresholds):
        number = int(images[0, 0, 0, 0])
        step = 0 if softmax(FIRST[number]).max() >= thresholds[0] else 1
        logits = (FIRST, WHOLE)[step][number][None]
        return Answer(logits, softmax(logits), np.int32([step]))

    def plain(images):
        found = answer(images, [threshold])
        return found.probabilities, found.exits

    return DynamicFile(Path("made-up.tflite"), 2, SIZE, answer, plain)


@pytest.fixture
def data():
    images = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None, None, None], (4, *SIZE, 3))
    source = PixelSource(images, LABELS)
    return Dataset("four", train=None, test=source, class_names=CLASSES, input_size=SIZE)


def test_the_figures_are_those_of_the_answers(data):
    predictor = SimpleNamespace(class_names=list(CLASSES), classes=3)
    report = evaluate_dynamic(made_up_file(), predictor, data)
    assert report.pictures == 4
    assert report.top1 == 0.5  # the third leaves wrong, the fourth is wrong anyway
    first, whole = report.exits
    assert (first.share, whole.share) == (0.5, 0.5)
    assert (first.top1, whole.top1) == (0.5, 0.5)
    assert (first.top1_of_all, whole.top1_of_all) == (0.75, 0.75)
    sure, unsure = softmax(FIRST[0]).max(), softmax(FIRST[1]).max()
    expected = (2 * abs(sure - 0.5) + 2 * abs(unsure - 1)) / 4
    assert first.calibration_error == pytest.approx(expected, abs=1e-6)
    assert report.curve[0][1] == 0.75  # nothing leaves
    assert report.p50_ms <= report.p99_ms
    assert "p99" in str(report)


def test_classes_in_another_order_are_matched_by_their_names(data):
    predictor = SimpleNamespace(class_names=list(CLASSES[::-1]), classes=3)
    report = evaluate_dynamic(made_up_file(), predictor, data)
    # "ant" is the last output now, which nothing answers right.
    assert report.exits[1].top1_of_all == np.mean(WHOLE.argmax(1) == 2 - LABELS)


def test_a_network_beside_it_has_the_same_classes_or_is_refused_at_once(data):
    predictor = SimpleNamespace(class_names=list(CLASSES), classes=3)
    other = SimpleNamespace(
        class_names=["x", "y", "z"],
        classes=3,
        input_size=SIZE,
        predict=lambda images: WHOLE[int(images[0, 0, 0, 0])][None],
    )
    untouched = DynamicFile(Path("made-up.tflite"), 2, SIZE, pytest.fail, pytest.fail)
    with pytest.raises(ValueError, match="3 of its 3 classes are not among the model's 3"):
        evaluate_dynamic(untouched, predictor, data, beside=[("other", other)])
    report = evaluate_dynamic(
        made_up_file(), predictor, data, beside=[("other", other)], by_order=True
    )
    assert report.beside["other"][1] == 0.75


def test_trust_is_for_networks_beside_it_too(tmp_path, monkeypatch):
    write_folder(tmp_path, 1)
    loaded = {}

    def load(path, *options, trust=False, **_):
        loaded[path] = trust or True in options
        return SimpleNamespace(class_names=CLASSES, classes=3, input_size=SIZE, has_exits=True)

    monkeypatch.setattr("levit_tf.prediction.predictor.load_predictor", load)
    monkeypatch.setattr("converters.dynamic.running.use_one_thread", lambda: None)
    monkeypatch.setattr("converters.dynamic.running.open_dynamic", lambda *_, **__: None)
    monkeypatch.setattr("training.evaluation.dynamic.evaluate_dynamic", lambda *_, **__: "")
    arguments = ["--model=a", "--beside=b", "--trust", f"--dataset=imagefolder:{tmp_path}"]
    assert call(command, arguments) == 0
    assert loaded == {"a": True, "b": True}


@pytest.mark.parametrize(
    ("model", "beside", "expected"),
    [
        ("plain", "", False),
        ("dynamic", "", True),
        ("a.tflite", "b.tflite,c.onnx", False),
        ("a.tflite", "b.tflite,c.keras", True),
    ],
)
def test_one_thread_is_set_before_tensorflow_computes_what_is_timed(
    tmp_path, monkeypatch, model, beside, expected
):
    for name, graph in (("plain", b"serving_default"), ("dynamic", b"with_thresholds")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_bytes(graph)
    calls = []
    monkeypatch.setattr("converters.dynamic.running.use_one_thread", lambda: calls.append("one"))
    monkeypatch.setattr("training.data.load_data", lambda *_, **__: calls.append("data"))
    monkeypatch.setattr("training.data.summary", pytest.fail)
    arguments = [f"--model={tmp_path / model}", "--dataset=digits"]
    with pytest.raises(pytest.fail.Exception):
        call(command, [*arguments, f"--beside={beside}"])
    assert calls == ["one", "data"] if expected else ["data"]


@pytest.mark.slow
def test_the_command_reports_and_draws(tmp_path, capsys):
    write_folder(tmp_path / "pictures", 12)
    model = levit_tf.LeViT("LeViTTiny", classes=len(CLASSES))
    randomize_keras(model)
    model = add_exits(levit_tf.with_properties(model, class_names=CLASSES))
    pictures = labelled_pictures(tmp_path / "pictures", CLASSES, (32, 32))
    to_dynamic(
        [model],
        tmp_path / "out",
        pictures=pictures,
        epsilon=0.3,
        class_names=CLASSES,
        formats=("tflite",),
        recipes=("fp32",),
    )
    file = tmp_path / "out" / "fp32.tflite"
    report = tmp_path / "report"
    arguments = [
        f"--dataset=imagefolder:{tmp_path / 'pictures'}",
        f"--output={tmp_path / 'report'}",
    ]
    assert call(command, [f"--model={file}", f"--beside={file}", *arguments]) == 0
    assert "calibration error, %" in capsys.readouterr().out
    found = json.loads((report / "dynamic_evaluation.json").read_text())
    assert len(found["exits"]) == 3
    assert found["beside"][str(file)][1] == found["top1"]
    assert (report / "dynamic.png").stat().st_size > 5000
