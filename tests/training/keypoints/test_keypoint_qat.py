"""Quantisation-aware training for joints: from a float network to the file that it is for."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest

import levit_tf
from converters.tflite.conversion import to_tflite
from examples.pose import make_folder
from levit_tf.keypoints.network import DECODER, keypoint_network
from levit_tf.keypoints.skeletons import COCO
from levit_tf.prediction.network_files import read_network
from tests.support.cases import long
from training.artefacts import FAKE_QUANTIZED, REFERENCE
from training.keypoints import quantized
from training.keypoints import run as run_module
from training.keypoints.config import KeypointConfig
from training.keypoints.evaluation import evaluate
from training.keypoints.people import cut_out
from training.keypoints.progress import LOG_FILE, QAT_PROGRESS_FILE
from training.keypoints.run import run
from training.keypoints.sources import load_joint_set

SIZE = (64, 48)


@pytest.fixture(scope="module")
def float_config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    make_folder(folder, 60, np.random.default_rng(0))
    return KeypointConfig(
        dataset=f"csv:{folder}/joints.csv",
        variant="LeViTNano",
        input_size=SIZE,
        epochs=12,
        batch_size=12,
        learning_rate=3e-3,
        rotation=0.0,
        scale_change=0.0,
    )


@pytest.fixture(scope="module")
def trained(float_config, tmp_path_factory):
    """The file of a float network."""
    folder = tmp_path_factory.mktemp("float") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "_export", lambda model, *_: model.save(folder / "final.keras"))
        run(float_config, folder)
    return folder / "final.keras"


@pytest.fixture(scope="module")
def config(float_config, trained):
    changes = {"qat": "int8", "init_from": str(trained), "epochs": 2, "learning_rate": 1e-4}
    return dataclasses.replace(float_config, **changes)


@functools.cache
def _parts(dataset):
    data = load_joint_set(dataset)
    return {
        name: cut_out(getattr(data, name), SIZE)[0] for name in ("train", "test")
    }, data.skeleton


@pytest.mark.slow
def test_a_run_begins_with_the_answers_of_its_float_network(config, trained):
    parts, skeleton = _parts(config.dataset)
    images = run_module._calibration_images(parts["train"], SIZE)
    source = quantized.float_network(config, keras.models.load_model(trained), skeleton, SIZE)
    student = quantized._student(config, source, images)
    found = quantized.runner(student, source.get_layer(DECODER))(images[:16])
    expected = read_network(trained).outputs(images[:16])["keypoints"]
    difference = np.abs(found - expected)
    assert 0 < np.median(difference[..., :2]) < 1  # pixels; rounding moves the likeliest place
    assert difference[..., 2].mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("target", ["int8", long("int8_full")])
def test_the_file_finds_no_fewer_joints_than_one_that_was_only_calibrated(
    target, config, trained, tmp_path
):
    run(dataclasses.replace(config, qat=target), tmp_path / "run")
    names = [FAKE_QUANTIZED, REFERENCE, f"{target}.tflite"]
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert list(result) == names
    parts, skeleton = _parts(config.dataset)
    images = run_module._calibration_images(parts["train"], SIZE)
    path = tmp_path / "calibrated.tflite"
    options = {"calibration_images": images, "calibration_method": "min_max"}
    to_tflite(keras.models.load_model(trained), path, recipe=target, **options)
    network = read_network(path)
    calibrated = evaluate(
        lambda x: network.outputs(x)["keypoints"], parts["test"], SIZE, skeleton, 1
    )
    found = result[names[2]]
    assert found["pck"] >= calibrated.pck - 0.05
    assert found["mpjpe"] <= calibrated.mpjpe + 1
    assert found["mpjpe"] == pytest.approx(result[FAKE_QUANTIZED]["mpjpe"], abs=0.5)


class Killed(BaseException):
    """As by SIGKILL: nobody catches it."""


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(config, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "_export", lambda *_: None)
    run(config, tmp_path / "whole")
    with monkeypatch.context() as patch:

        def die(folder, epoch, row):
            if epoch == 1:  # the best network is ahead of the state
                raise Killed
            append_row(folder, epoch, row)

        append_row = quantized.append_row
        patch.setattr(quantized, "append_row", die)
        with pytest.raises(Killed):
            run(config, tmp_path / "broken")
    run(config, tmp_path / "broken")
    logs = [(tmp_path / name / LOG_FILE).read_text() for name in ("broken", "whole")]
    assert logs[0] == logs[1]
    states = [np.load(tmp_path / name / QAT_PROGRESS_FILE) for name in ("broken", "whole")]
    assert states[0].files == states[1].files
    for name in states[0].files:
        np.testing.assert_array_equal(states[0][name], states[1][name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qat": "int4"}, "qat must be one of int8, int8_full"),
        (
            {"qat": "int8"},
            r"set init_from to the final\.keras of a run for joints\. Received: None",
        ),
        ({"qat": "int8", "init_from": "imagenet"}, "Received: 'imagenet'"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        KeypointConfig(**changes)


@pytest.mark.slow
def test_networks_that_a_run_cannot_begin_with_are_refused(tmp_path):
    def refused(config, skeleton=COCO, size=(32, 32)):
        with pytest.raises(ValueError) as caught:  # noqa: PT011, looked at below
            quantized.float_network(config, keras.models.load_model(path), skeleton, size)
        return str(caught.value)

    path = tmp_path / "net.keras"
    backbone = levit_tf.LeViT("LeViTNano", include_top=False, input_shape=32)
    backbone.save(path)
    config = KeypointConfig(qat="int8", init_from=str(path), variant="LeViTNano")
    assert "net.keras: finds no joints" in refused(config)
    keypoint_network(backbone, COCO).save(path)
    assert "Use data with the same joints" in refused(
        config, dataclasses.replace(COCO, joints=COCO.joints[::-1])
    )
    assert refused(config, size=(48, 32)).endswith(
        "has input_size 32x32; the run 48x32. Set input_size=32x32."
    )
    assert refused(dataclasses.replace(config, head="heatmap")).endswith("Set head=simcc.")
    assert refused(dataclasses.replace(config, variant="LeViT128S")).endswith(
        "Set variant=LeViTNano."
    )
