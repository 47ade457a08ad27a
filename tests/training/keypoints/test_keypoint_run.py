"""A training for joints goes on where it was killed, bit for bit, and refuses what cannot be."""

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from converters.tflite.calibration import CALIBRATION_IMAGES
from levit_tf.keypoints.decoding import DecodeSimCC
from levit_tf.keypoints.network import DECODER, logits_of
from tests.support.cases import long
from training.keypoints import quantized
from training.keypoints import run as run_module
from training.keypoints.config import KeypointConfig
from training.keypoints.people import Crops, cut_out
from training.keypoints.progress import LOG_FILE, PROGRESS_FILE, rows_of
from training.keypoints.run import BEST_FILE, run
from training.keypoints.sources import load_joint_set

COUNT, EPOCHS = 30, 3


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Faces of two dots."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    lines = ["file,left_eye_x,left_eye_y,right_eye_x,right_eye_y"]
    for n in range(COUNT):
        pixels = rng.integers(0, 60, (48, 48, 3)).astype(np.uint8)
        x, y = rng.integers(12, 36, 2)
        pixels[y - 2 : y + 2, x - 8 : x - 4], pixels[y - 2 : y + 2, x + 4 : x + 8] = 250, 200
        Image.fromarray(pixels).save(folder / f"{n:02}.png")
        lines.append(f"{n:02}.png,{x - 6},{y},{x + 6},{y}")
    (folder / "joints.csv").write_text("\n".join(lines))
    return KeypointConfig(
        dataset=f"csv:{folder}/joints.csv",
        variant="LeViTNano",
        input_size=(32, 48),
        epochs=EPOCHS,
        batch_size=8,
    )


@pytest.fixture(autouse=True)
def no_exports(monkeypatch):
    monkeypatch.setattr(run_module, "_export", lambda *_: None)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The folder of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "_export", lambda *_: None)
        run(config, folder)
    return folder


def _arrays(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, x: found.update({name: x[()]} if hasattr(x, "dtype") else {}))
    return found


class Killed(BaseException):
    """As by SIGKILL: nobody catches it."""


def _kill_at(monkeypatch, place, count):
    """Has a run end at the `count`-th step or the `count`-th time that it keeps its state."""
    calls = []

    def die(*arguments, **keywords):
        calls.append(place == "step" or Path(arguments[1]).name == PROGRESS_FILE)
        if calls[-1] and sum(calls) == count:
            raise Killed
        return original(*arguments, **keywords)

    owner, name = {
        "step": (run_module._Looks, "on_train_batch_end"),
        "state": (run_module, "save_weights"),
    }[place]
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, die)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("step", 5),  # within the second epoch
        long("step", 2),  # nothing is kept yet
        long("state", 2),  # log and best weights are ahead of it
    ],
)
def test_a_killed_run_ends_as_one_that_was_not(place, count, config, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _kill_at(patch, place, count)
        with pytest.raises(Killed):
            run(config, tmp_path / "run")
    run(config, tmp_path / "run")
    assert (tmp_path / "run" / LOG_FILE).read_text() == (whole / LOG_FILE).read_text()
    for name in (PROGRESS_FILE, BEST_FILE):
        found, expected = _arrays(tmp_path / "run" / name), _arrays(whole / name)
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert any("optimizer" in key for key in expected | _arrays(whole / PROGRESS_FILE))


@pytest.mark.slow
def test_a_damaged_state_is_named_and_nothing_is_lost(config, whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", LOG_FILE, BEST_FILE):
        (folder / name).write_bytes((whole / name).read_bytes())
    (folder / PROGRESS_FILE).write_bytes((whole / PROGRESS_FILE).read_bytes()[:5000])
    with pytest.raises(ValueError, match=rf"{PROGRESS_FILE}: damaged.*--overwrite begins anew"):
        run(config, folder)
    assert (folder / LOG_FILE).read_text() == (whole / LOG_FILE).read_text()


@pytest.mark.slow
def test_another_configuration_is_not_mixed_into_a_run(config, whole):
    with pytest.raises(FileExistsError, match=r"another configuration\. --overwrite"):
        run(dataclasses.replace(config, seed=1), whole)
    assert json.loads((whole / "config.json").read_text())["seed"] == 0


def _without_a_line(table):
    table.write_text(table.read_text().rpartition("\n")[0])


def _with_a_part_of_a_box(table):
    header, *rows = table.read_text().split("\n")
    boxes = [",2,,,", *[",,,,"] * (len(rows) - 1)]
    rows = [row + box for row, box in zip(rows, boxes, strict=True)]
    table.write_text("\n".join([f"{header},left,top,width,height", *rows]))


def _with_a_joint_moved(table):
    table.write_text(re.sub(r"\n00\.png,(\d+)", r"\n00.png,\1.5", table.read_text()))


def _with_left_for_right(table):
    header, rows = table.read_text().split("\n", 1)
    swapped = header.replace("left", "x").replace("right", "left").replace("x_eye", "right_eye")
    table.write_text(f"{swapped}\n{rows}")


def _with_a_box(table):
    header, rows = table.read_text().split("\n", 1)
    rows = "".join(f"\n{row},2,2,40,40" for row in rows.split("\n"))
    table.write_text(f"{header},left,top,width,height{rows}")


def _with_another_picture(table):
    Image.new("RGB", (48, 48)).save(table.with_name("03.png"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_a_line, r"train people \(24 before, 25 now\), train pictures, train joints"),
        (_with_a_part_of_a_box, r"\(This version leaves out people whose boxes have no size"),
        (_with_a_joint_moved, r"Different: (train|validation|test) joints\. Put"),
        (_with_left_for_right, r"Different: names of joints\. Put the files back as they were"),
        (_with_a_box, "Different: train boxes, validation boxes, test boxes"),
        (_with_another_picture, r"Different: (train|validation|test) pictures\. Put"),
    ],
)
def test_a_run_does_not_go_on_with_other_data(change, message, config, tmp_path, monkeypatch):
    for name in ("_network", "_train"):
        monkeypatch.setattr(run_module, name, lambda *_: None)
    people, copied = Path(config.dataset.removeprefix("csv:")).parent, tmp_path / "people"
    shutil.copytree(people, copied)
    config = dataclasses.replace(config, dataset=f"csv:{copied}/joints.csv")
    run(config, tmp_path / "run")
    change(copied / "joints.csv")
    with pytest.raises(FileExistsError, match=message):
        run(config, tmp_path / "run")
    shutil.copytree(people, copied, dirs_exist_ok=True)
    run(config, tmp_path / "run")  # they are as they were
    change(copied / "joints.csv")
    run(config, tmp_path / "run", overwrite=True)


def test_a_lack_of_memory_is_explained(config, tmp_path, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(run_module, "_network", lambda *_: None)
    monkeypatch.setattr(run_module, "_train", exhausted)
    with pytest.raises(
        OSError, match=r"not enough memory for batch_size=8\. A smaller --set=batch"
    ):
        run(config, tmp_path / "run")


def test_a_left_joint_without_the_right_one_is_not_mirrored(config, tmp_path, monkeypatch, capsys):
    for name in ("_network", "_train"):
        monkeypatch.setattr(run_module, name, lambda *_: None)
    run(config, tmp_path / "pairs")
    said = "exchanged in mirrored pictures: left_eye and right_eye\n"
    assert capsys.readouterr().out.count(said) == 1
    people = Path(config.dataset.removeprefix("csv:")).parent
    shutil.copytree(people, tmp_path / "people")
    table = tmp_path / "people" / "joints.csv"
    table.write_text(table.read_text().replace("right_eye", "eye_to_the_right"))
    config = dataclasses.replace(config, dataset=f"csv:{table}")
    message = r"flip=0\.5: left_eye, eye_to_the_right: .* or --set=flip=0"
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # or flip=0 would be another configuration
    run(dataclasses.replace(config, flip=0.0), tmp_path / "run")
    assert "exchanged" not in capsys.readouterr().out


def _small_network(config, skeleton, size, trained):
    """In place of a LeViT: the middles of areas, and two linear layers."""
    x = inputs = keras.Input((*size, 3))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(x))
    x = keras.layers.RepeatVector(len(skeleton.joints))(x)
    logits = {axis: keras.layers.Dense(2 * size["yx".index(axis)], name=axis)(x) for axis in "xy"}
    decode = DecodeSimCC(size, 2.0, skeleton.joints, name=DECODER)
    return keras.Model(inputs, {"keypoints": decode(logits)})


@pytest.fixture
def diverging(monkeypatch):
    """Has a run damage its weights in a step, of which there are three in an epoch."""
    monkeypatch.setattr(run_module, "_network", _small_network)

    def begin_at(step):
        class Rate(keras.optimizers.schedules.LearningRateSchedule):
            def __init__(self, *_):
                pass

            def __call__(self, now):
                return tf.where(now < step, 1e-3, math.nan)

        for module in (run_module, quantized):
            monkeypatch.setattr(module, "Rate", Rate)

    return begin_at


@pytest.mark.parametrize("step", [3, 5], ids=["within an epoch", "at its end"])
def test_a_run_that_diverges_ends_with_its_best_epoch(
    step, config, diverging, tmp_path, monkeypatch, capsys
):
    exported = []
    monkeypatch.setattr(run_module, "_export", lambda model, *_: exported.append(model))
    diverging(step)
    run(config, tmp_path / "run")
    assert "not a number: try a lower learning_rate. The best epoch" in capsys.readouterr().out
    assert all(np.isfinite(weight).all() for weight in exported[0].get_weights())
    assert len(rows_of(tmp_path / "run")) == 1
    run(config, tmp_path / "run")  # goes on after the first epoch, and ends in the same way
    for found, expected in zip(*(model.get_weights() for model in exported), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_training_for_int8_that_diverges_ends_with_its_best_epoch(
    config, diverging, tmp_path, monkeypatch, capsys
):
    config = dataclasses.replace(config, qat="int8", init_from="float.keras")
    data, size = load_joint_set(config.dataset), config.input_size
    parts = {name: cut_out(getattr(data, name), size)[0] for name in ("train", "validation")}
    network = _small_network(config, data.skeleton, size, None)
    # Without the rounding of int8, which a graph of other layers cannot have.
    monkeypatch.setattr(quantized, "_student", lambda *_: logits_of(network))
    monkeypatch.setattr(quantized, "shipped", lambda *arguments: arguments[-1])
    monkeypatch.setattr(quantized, "load_quantized", keras.models.load_model)
    diverging(5)
    found = quantized.train_for_int8(config, network, parts, data.skeleton, None, tmp_path)
    assert "not a number: try a lower learning_rate. The best epoch" in capsys.readouterr().out
    assert all(np.isfinite(weight).all() for weight in found.get_weights())
    assert len(rows_of(tmp_path)) == 1


@pytest.mark.parametrize("step", [0, 2])
def test_a_run_that_diverges_in_its_first_epoch_says_what_to_try(step, config, diverging, tmp_path):
    diverging(step)
    with pytest.raises(ValueError, match=r"not a number: try a lower learning_rate\.$"):
        run(config, tmp_path / "run")


def _without_pictures(config, folder):
    """The same table, whose pictures are not there."""
    folder.mkdir()
    table = Path(config.dataset.removeprefix("csv:"))
    return {"dataset": f"csv:{shutil.copy(table, folder)}"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": (33, 48)}, r"height must be a positive multiple.* are 32 and 48"),
        ({"variant": "LeViT1"}, "LeViT1"),
        (_without_pictures, r"Nobody can be cut out of a picture.*\.png"),
    ],
    ids=["size", "variant", "pictures"],
)
def test_the_corrected_command_begins_where_one_was_refused(
    change, message, config, tmp_path, monkeypatch
):
    change = change(config, tmp_path / "people") if callable(change) else change
    read = []
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_train", lambda *_: None)
        patch.setattr(
            run_module, "cut_out", lambda *arguments: read.append(1) or cut_out(*arguments)
        )
        with pytest.raises(ValueError, match=message):
            run(dataclasses.replace(config, **change), tmp_path / "run")
        assert bool(read) == ("dataset" in change)
        run(config, tmp_path / "run")
    assert json.loads((tmp_path / "run/config.json").read_text())["input_size"] == [32, 48]


def test_an_earlier_run_is_there_until_the_one_that_replaces_it_begins(config, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / PROGRESS_FILE).write_bytes(b"earlier")
    odd = dataclasses.replace(config, input_size=(33, 48))
    with pytest.raises(ValueError, match="height must be"):
        run(odd, folder, overwrite=True)
    assert (folder / PROGRESS_FILE).read_bytes() == b"earlier"


@pytest.mark.slow
def test_a_run_on_very_few_people_has_its_files(config, tmp_path, monkeypatch):
    monkeypatch.undo()  # with exports
    table = Path(config.dataset.removeprefix("csv:"))
    shutil.copytree(table.parent, tmp_path / "people")
    few = tmp_path / "people" / table.name
    few.write_text("\n".join(few.read_text().split("\n")[:7]))
    few = dataclasses.replace(config, dataset=f"csv:{few}", epochs=1, batch_size=2)
    run(few, tmp_path / "run")
    found = json.loads((tmp_path / "run/result.json").read_text())
    assert list(found) == [
        "final.keras",
        "fused.keras",
        "saved_model",
        "fp32.tflite",
        "int8.tflite",
    ]


def test_only_the_calibration_people_become_floats():
    pixels = np.zeros((1000, 6, 6, 3), np.uint8)
    pixels[:, 3, 3, 0] = np.arange(1000) // 4
    crops = Crops(pixels, *np.zeros((3, 1000, 1, 3), np.float32))
    found = run_module._calibration_images(crops, (4, 4))
    assert found.shape == (CALIBRATION_IMAGES, 4, 4, 3)
    assert (found[0, 2, 2, 0], found[-1, 2, 2, 0]) == (0, 249)  # of the whole part
