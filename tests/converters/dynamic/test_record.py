"""A record tells a server the thresholds that hold now, and of which network they are."""

import dataclasses
import json
import re

import keras
import pytest

import levit_tf
from converters.dynamic.record import NETWORKS, check_models, network_json, served_calibration
from levit_tf.dynamic.calibration import Calibration
from tests.support.saved_files import tiny

OLD, NEW = (
    dataclasses.asdict(Calibration((1.0,), (threshold,), 0.01, 0.1, 1000, ()))
    for threshold in (0.5, 0.9)
)
BY_HAND = {"thresholds": [0.9], "promise": "none: set by hand"}


def write(folder, calibration, name=None, **more):
    content = {"calibration": calibration, "files": {}, **more}
    if name is not None:
        content["files"]["saved_model"] = {"calibration": name}
    path = folder / "dynamic.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "expected", "thresholds"),
    [(None, "fp32", (0.5,)), ("fp32", "fp32", (0.5,)), ("saved_model", "saved_model", (0.9,))],
)
def test_the_thresholds_are_those_of_the_saved_model(tmp_path, name, expected, thresholds):
    path = write(tmp_path, {"fp32": OLD, "saved_model": NEW}, name)
    for given in (path, tmp_path):
        found, calibration = served_calibration(given)
        assert (found, calibration.thresholds) == (expected, thresholds)


def test_a_record_of_an_earlier_version_knows_no_accuracy(tmp_path):
    point = {"threshold": 0.5, "leaving": [0.4, 0.6], "errors": 0.0, "bound": 0.01}
    old = {name: value for name, value in OLD.items() if name != "whole_top1"} | {"curve": [point]}
    _, calibration = served_calibration(write(tmp_path, {"fp32": old}))
    assert calibration.whole_top1 is None
    assert "top-1" not in str(calibration)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ({"fp32": OLD, "saved_model": BY_HAND}, "thresholds of saved_model were set by hand"),
        ({"fp32": OLD}, "'saved_model'"),
        ([], "no record of converters.to_dynamic: it has no calibration"),
    ],
)
def test_a_record_without_them_is_refused(tmp_path, calibration, message):
    with pytest.raises(ValueError, match=rf"dynamic.json: .*{message}"):
        served_calibration(write(tmp_path, calibration, "saved_model"))


def test_another_network_is_refused_and_what_cannot_be_compared_is_said(tmp_path):
    own, other = (tiny(classes=3) for _ in range(2))
    path = write(tmp_path, {"fp32": OLD}, **{NETWORKS: [network_json(own)]})
    own.save(tmp_path / "again.keras")  # its bytes differ each time: they have a date
    for same in (own, keras.models.load_model(tmp_path / "again.keras")):
        assert check_models(path, [same], ["own"]) is None
    with pytest.raises(ValueError, match=r"dynamic.json: made of another network than other\.k"):
        check_models(path, [other], ["other.keras"])
    with pytest.raises(ValueError, match=r"made of 1 networks\. Received: 2"):
        check_models(path, [own, own], ["own", "own"])
    assert re.match(
        r"fused\.keras is fused, the network of .*dynamic.json was not, so they are not compared",
        check_models(path, [levit_tf.fuse(own)], ["fused.keras"]),
    )
    before = write(tmp_path, {"fp32": OLD})
    assert "has none of its networks" in check_models(before, [other], ["other.keras"])
