"""Versions come, go, break and are replaced while requests are answered."""

import threading
import time

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus as Status

from tests.support.serving.serving_cases import (
    MODEL,
    POLL,
    base_with_one_version,
    eventually,
    predict_request,
    refusal,
    serve_watched,
    values,
)
from tests.support.serving.serving_models import SLEEP_SECONDS, copy_version, save_half

X = {"x": np.float32([2, 4])}


@pytest.fixture
def base(tmp_path):
    """A model's folder with version 1."""
    return base_with_one_version(tmp_path)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A version that answers differently: y = x / 2 + 10."""
    return save_half(tmp_path_factory.mktemp("other") / "1", 10.0)


def test_a_new_version_replaces_the_old_one(base, other):
    with serve_watched(base) as target:
        assert target.predict(X).model_spec.version.value == 1
        copy_version(other, base / "2")
        eventually(lambda: target.states() == {2: Status.AVAILABLE, 1: Status.END})
        response = target.predict(X)
        assert response.model_spec.version.value == 2
        np.testing.assert_array_equal(values(response), [11, 12])
        assert refusal(target.models.GetModelStatus, _status("none"))[0] == StatusCode.NOT_FOUND
        assert refusal(lambda: target.predict(X, version=1)) == (
            StatusCode.NOT_FOUND,
            f"Servable not found for request: Specific({MODEL}, 1)",
        )


def _status(name):
    from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest

    request = GetModelStatusRequest()
    request.model_spec.name = name
    return request


def test_a_request_ends_on_the_version_it_began_with(base, other):
    with serve_watched(base) as target:
        future = target.predictions.Predict.future(predict_request(X, "sleep"), 20)
        time.sleep(SLEEP_SECONDS / 4)
        copy_version(other, base / "2")
        eventually(lambda: target.states().get(1) == Status.UNLOADING)
        assert target.predict(X).model_spec.version.value == 2
        response = future.result()
        assert response.model_spec.version.value == 1
        np.testing.assert_array_equal(values(response), [3, 4])
        eventually(lambda: target.states()[1] == Status.END)


def test_what_is_no_number_is_no_version(base):
    for name in ("2.tmp", ".3", "latest", "-4", "5a"):
        copy_version(base / "1", base / name)
    (base / "notes.txt").write_text("6")
    with serve_watched(base) as target:
        time.sleep(3 * POLL)
        assert target.states() == {1: Status.AVAILABLE}


# What breaks


def test_a_broken_version_leaves_the_old_one_serving_and_says_why(base):
    with serve_watched(base) as target:
        (base / "2").mkdir()
        status = eventually(lambda: [s for s in target.statuses() if s.status.error_code])[0]
        assert (status.version, status.state) == (2, Status.END)
        assert status.status.error_code == 5
        assert "Could not find SavedModel" in status.status.error_message
        assert str(base) not in status.status.error_message
        assert f"{MODEL}/2" in status.status.error_message
        assert target.predict(X).model_spec.version.value == 1


def test_a_damaged_file_is_a_broken_version(base):
    with serve_watched(base) as target:
        (base / "2").mkdir()
        (base / "2" / "saved_model.pb").write_bytes(b"\xff" * 999)
        eventually(lambda: target.states().get(2) == Status.END)
        assert target.predict(X).model_spec.version.value == 1


def test_a_version_that_failed_is_tried_again(base):
    with serve_watched(
        base, max_num_load_retries=1000, load_retry_interval_micros=20_000
    ) as target:
        (base / "2").mkdir()
        status = eventually(lambda: [s for s in target.statuses() if s.status.error_code])[0]
        assert status.state == Status.LOADING
        for file in (base / "1").iterdir():
            file.rename(base / "2" / file.name)
        eventually(lambda: target.states()[2] == Status.AVAILABLE)


def test_a_version_that_failed_for_good_is_loaded_once_it_was_away(base):
    with serve_watched(base) as target:
        (base / "2").mkdir()
        eventually(lambda: target.states().get(2) == Status.END)
        (base / "2").rmdir()
        time.sleep(3 * POLL)
        copy_version(base / "1", base / "2")
        eventually(lambda: target.states()[2] == Status.AVAILABLE)


def test_a_vanished_folder_is_no_reason_to_stop_serving(base):
    with serve_watched(base) as target:
        base.rename(base.with_name("gone"))
        time.sleep(3 * POLL)
        assert target.predict(X).model_spec.version.value == 1


def test_a_version_whose_folder_is_deleted_is_unloaded(base):
    with serve_watched(base) as target:
        (base / "1").rename(base.with_name("gone"))
        eventually(lambda: target.states() == {1: Status.END})
        assert refusal(target.predict, X) == (
            StatusCode.NOT_FOUND,
            f"Servable not found for request: Latest({MODEL})",
        )
        base.with_name("gone").rename(base / "1")
        eventually(lambda: target.states() == {1: Status.AVAILABLE})


def test_the_version_before_comes_back_when_the_latest_is_deleted(base, other):
    with serve_watched(base) as target:
        copy_version(other, base / "2")
        eventually(lambda: target.states() == {2: Status.AVAILABLE, 1: Status.END})
        (base / "2").rename(base.with_name("gone"))
        eventually(lambda: target.states() == {2: Status.END, 1: Status.AVAILABLE})


def test_a_server_whose_only_model_does_not_load_does_not_start(tmp_path):
    from serving.server.errors import ServingError

    (tmp_path / "base" / "1").mkdir(parents=True)
    with (
        pytest.raises(ServingError, match=r"1 model\(s\) did not become available.*SavedModel"),
        serve_watched(tmp_path / "base"),
    ):
        pass


# Many requests while versions change


def requests_during(target, change, threads=4):
    """Asks without a pause while `change` runs; returns the answers as (version, first y)."""
    stop, answers, errors = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            try:
                response = target.predict(X)
                answers.append((response.model_spec.version.value, values(response)[0]))
            except grpc.RpcError as error:
                errors.append(error.details())

    workers = [threading.Thread(target=ask) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        change(answers)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert errors == []
    return answers


def swaps(base, other, target, count, answers_between):
    """Publishes versions 2 to count + 1, odd ones as version 1, even ones as `other`."""

    def change(answers):
        for version in range(2, count + 2):
            enough = len(answers) + answers_between
            eventually(lambda n=enough: len(answers) >= n, 120)
            copy_version(base / "1" if version % 2 else other, base / str(version))
            eventually(lambda v=version: target.states().get(v) == Status.AVAILABLE, 60)

    answers = requests_during(target, change)
    for version, y in answers:
        assert y == (3 if version % 2 else 11), f"version {version} answered {y}"
    return answers


def test_no_request_is_lost_in_a_hot_swap_or_answered_by_two_versions(base, other):
    with serve_watched(base) as target:
        answers = swaps(base, other, target, 3, answers_between=50)
    assert {version for version, _ in answers} >= {1, 2, 3}


@pytest.mark.slow
def test_10_000_requests_during_20_hot_swaps(base, other):
    with serve_watched(base) as target:
        answers = swaps(base, other, target, 20, answers_between=500)
    assert len(answers) >= 10_000
    assert len({version for version, _ in answers}) >= 20


@pytest.mark.slow
def test_50_reloads_leave_no_memory_behind(base, other):
    import os

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    with serve_watched(base) as target:
        sizes = []
        for version in range(2, 72):
            copy_version(base / "1" if version % 2 else other, base / str(version))
            eventually(lambda v=version: target.states().get(v) == Status.AVAILABLE, 60)
            eventually(lambda v=version: target.states().get(v - 1) == Status.END, 60)
            target.predict(X)
            sizes.append(resident())
    settled, grown = sizes[19], sizes[-1] - sizes[19]
    print(f"{settled:.0f} MiB after 20 reloads, {grown:+.1f} MiB after 50 more")
    assert grown < 10
