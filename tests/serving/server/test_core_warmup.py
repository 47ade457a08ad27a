"""Warm-up records are run before a version is served, and stop it if they fail."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus as Status

from tests.support.cases import slow
from tests.support.serving.serving_cases import (
    base_with_one_version,
    classify_request,
    eventually,
    predict_request,
    regress_request,
    serve_watched,
)
from tests.support.serving.serving_models import copy_version

X = {"x": np.float32([2, 4])}


@pytest.fixture
def base(tmp_path):
    """A model's folder with version 1."""
    return base_with_one_version(tmp_path)


def write_warmup(folder, *logs):
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def predict_log(*arguments):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(*arguments))
    return log


def test_warm_up_records_of_all_methods_are_run(base):
    classify, regress = prediction_log_pb2.PredictionLog(), prediction_log_pb2.PredictionLog()
    classify.classify_log.request.CopyFrom(classify_request())
    regress.regress_log.request.CopyFrom(regress_request())
    copy_version(base / "1", base / "2")
    write_warmup(base / "2", predict_log(X), classify, regress)
    with serve_watched(base) as target:
        assert target.states() == {2: Status.AVAILABLE}


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        ([predict_log(X, "none")], 'Serving signature key "none" not found.'),
        slow([predict_log(X)] * 1001, "Number of warmup records exceeds the maximum (1000)"),
        (None, "Please verify your warmup data is in TFRecord format."),
    ],
    ids=["fails", "too many", "no TFRecord"],
)
def test_a_bad_warm_up_record_stops_the_version(base, tmp_path, logs, message):
    new = copy_version(base / "1", tmp_path / "new")
    write_warmup(new, *(logs or []))
    if logs is None:
        (new / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no record" * 99)
    with serve_watched(base) as target:
        new.rename(base / "2")
        status = eventually(lambda: [s for s in target.statuses() if s.status.error_code])[0]
        assert message in status.status.error_message
        assert target.predict(X).model_spec.version.value == 1


def test_warm_up_can_be_switched_off(base):
    write_warmup(base / "1", predict_log(X, "none"))
    with serve_watched(base, enable_model_warmup=False) as target:
        assert target.states() == {1: Status.AVAILABLE}
