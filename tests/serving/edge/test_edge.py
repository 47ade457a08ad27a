"""`python -m serving.edge` classifies with numpy, Pillow and LiteRT alone, a line for a picture."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from levit_common.shipped_names import EXIT, PROBABILITIES
from levit_lite.prediction.network import Network
from levit_lite.prediction.predictor import Predictor
from levit_tf.pictures.images import load_images
from levit_tf.prediction.predictor import load_predictor
from serving.edge.answers import answer
from serving.edge.sources import of_watched_folder
from tests.support.artefacts import NAMES
from tests.support.commands import ENVIRONMENT, run_process
from tests.support.training.data_cases import encoded, picture

# What may be imported: they, and what LiteRT's package depends on.
ALLOWED = {"levit_common", "levit_lite", "serving", "numpy", "PIL", "ai_edge_litert", "flatbuffers"}
OF_LITERT = {"backports", "google", "ml_dtypes", "tqdm", "typing_extensions"}


@pytest.fixture(scope="module")
def model(artefacts):
    return artefacts["fp32.tflite"]


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.webp")]
    for n, path in enumerate(paths):
        picture(n, (50 + 9 * n, 70)).save(path)
    return [str(path) for path in paths]


def lines(output):
    return [json.loads(line) for line in output.splitlines()]


def test_answers_are_those_of_classify(model, pictures):
    done = run_process("serving.edge", f"--model={model}", "--top=4", *pictures)
    assert (done.returncode, done.stderr) == (0, "")
    found = lines(done.stdout)
    assert [line["name"] for line in found] == pictures
    predictor = load_predictor(model)
    expected = predictor.predict(load_images(pictures, predictor.input_size))
    for line, scores in zip(found, expected, strict=True):
        best = np.argsort(-scores, kind="stable")[:4]
        assert [entry["index"] for entry in line["top"]] == best.tolist()
        assert [entry["class"] for entry in line["top"]] == [NAMES[index] for index in best]
        # Pixels that Pillow rounds the other way.
        probabilities = [entry["probability"] for entry in line["top"]]
        np.testing.assert_allclose(probabilities, scores[best], atol=2e-3)
        assert line["ms"] > 0


@pytest.mark.parametrize("step", [None, 0, 2])
def test_which_exit_answered_is_told_of_a_dynamic_file_and_of_no_other(step):
    shapes = {PROBABILITIES: (1, 2)} | ({} if step is None else {EXIT: (1,)})
    outputs = {PROBABILITIES: np.float32([[0.25, 0.75]]), EXIT: np.float32([step or 0])}
    network = Network("n", lambda x: {k: outputs[k] for k in shapes}, (1, 4, 4, 3), shapes)
    found = answer(Predictor(network, ["no", "yes"]), np.zeros((4, 4, 3), np.uint8), top=1)
    assert found["top"] == [{"class": "yes", "index": 1, "probability": 0.75}]
    assert found.get(EXIT) == step
    assert list(found)[-1] == "ms"


def test_nothing_but_numpy_pillow_and_litert_is_imported(model, pictures):
    script = (
        "import atexit, sys\n"
        "from serving.edge.__main__ import _parse, _classify\n"
        "status = _classify(_parse(sys.argv[1:]))\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(names - sys.stdlib_module_names), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, f"--model={model}", *pictures],
        capture_output=True,
        text=True,
        check=False,
        # Without site-packages' .pth files, which import what they like.
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr
    imported = {name for name in eval(done.stderr.splitlines()[-1]) if name[:2] != "__"}
    assert "numpy" in imported
    assert imported - ALLOWED - OF_LITERT <= {"cython_runtime", "_cython_3_2_4", "_distutils_hack"}


def test_a_picture_that_cannot_be_read_has_its_line_and_the_others_theirs(model, pictures):
    with open(pictures[1], "r+b") as file:
        file.truncate(300)
    done = run_process("serving.edge", f"--model={model}", *pictures, "gone.png")
    assert done.returncode == 1
    found = lines(done.stdout)
    assert ["error" in line for line in found] == [False, True, False, True]
    assert "truncated" in found[1]["error"]
    assert "no such file" in found[3]["error"]


def test_a_folder_stands_for_the_pictures_in_it(model, pictures, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    done = run_process("serving.edge", f"--model={model}", tmp_path)
    assert [line["name"] for line in lines(done.stdout)] == pictures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model"),
        (["--model=x.tflite"], "expected one of PICTURE..., --watch, --camera, --video"),
        (["--model=x.tflite", "--watch=a", "b.png"], "Received: PICTURE..., --watch"),
        (["--model=x.tflite", "--top=0", "b.png"], "--top: expected at least 1. Received: 0"),
        (["--model=gone.tflite", "b.png"], "gone.tflite: no such file"),
        (["--model={model}", "--watch=gone"], "gone: no such folder"),
        (["--model={model}", "--labels={model}", "a.png"], "class names"),
        (["--model={model}", "--video=/dev/null"], "cannot be opened; expected a video"),
        (["--model={picture}", "b.png"], "cannot be loaded as a TFLite file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, message, model, pictures):
    arguments = [text.format(model=model, picture=pictures[0]) for text in arguments]
    done = run_process("serving.edge", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_a_file_that_litert_dies_of_is_named():
    script = (
        "import os, signal, sys\n"
        "from serving.edge.guarded import run_guarded\n"
        "die = lambda: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "sys.exit(run_guarded(die, 'bad.tflite'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 1
    assert "bad.tflite: LiteRT ends the process that runs it (SIGSEGV)" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_command_alone_ends_its_other_process_too(number):
    script = (
        "import os, sys, time\n"
        "from serving.edge.guarded import run_guarded\n"
        "def work():\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "sys.exit(run_guarded(work, 'a.tflite'))"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout.readline().strip().isdecimal()
        process.send_signal(number)
        process.wait(20)
        assert process.stdout.read() == ""  # as soon as the other process has closed it, too
    codes = {signal.SIGINT: 130, signal.SIGTERM: 128 + signal.SIGTERM}
    assert process.returncode == codes.get(number, -number)


def test_a_watched_folder_is_read_when_its_files_are_whole(model, tmp_path):
    content = encoded(picture(5))
    (tmp_path / "first.jpg").write_bytes(content)
    command = [sys.executable, "-m", "serving.edge", f"--model={model}", f"--watch={tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            assert json.loads(process.stdout.readline())["name"] == str(tmp_path / "first.jpg")
            with open(tmp_path / "late.jpg", "wb") as file:
                for start in range(0, len(content), 200):
                    file.write(content[start : start + 200])
                    file.flush()
                    time.sleep(0.05)
            line = json.loads(process.stdout.readline())
            assert line["name"] == str(tmp_path / "late.jpg")
            assert "top" in line
            shutil.copy(tmp_path / "first.jpg", tmp_path / "late.jpg")
            assert json.loads(process.stdout.readline())["name"] == str(tmp_path / "late.jpg")
            process.terminate()
            assert process.wait(20) == 128 + signal.SIGTERM
            assert process.stdout.read() == ""
        finally:
            process.kill()


def test_a_file_that_vanishes_during_a_scan_does_not_make_the_others_new(tmp_path, monkeypatch):
    for name in "abc":
        picture(0, (9, 9)).save(tmp_path / f"{name}.png")
    scandir, scans = os.scandir, []

    @contextlib.contextmanager
    def in_order(folder):
        with scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        scans.append(found)
        if len(scans) == 3:
            (tmp_path / "a.png").unlink()
        yield found

    monkeypatch.setattr(os, "scandir", in_order)
    found = of_watched_folder(str(tmp_path), (8, 8), seconds=0, rounds=5)
    assert [Path(about["name"]).name for about, _ in found] == ["a.png", "b.png", "c.png"]


def test_a_video_is_classified_at_the_times_that_are_asked_for(model, tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "video.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    frames = [np.asarray(picture(n, (48, 64))) for n in range(12)]
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    done = run_process("serving.edge", f"--model={model}", f"--video={path}", "--every=0.5")
    found = lines(done.stdout)
    assert [(line["frame"], line["seconds"]) for line in found] == [(0, 0.0), (5, 0.5), (10, 1.0)]
    Image.fromarray(frames[5]).save(tmp_path / "frame.png")
    alone = lines(run_process("serving.edge", f"--model={model}", tmp_path / "frame.png").stdout)
    # The video is JPEG.
    probabilities = [line["top"][0]["probability"] for line in (alone[0], found[1])]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=0.05)
