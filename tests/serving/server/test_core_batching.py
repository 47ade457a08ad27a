"""Requests that are computed as one batch."""

import time

import numpy as np
import pytest
from grpc import StatusCode

from tests.support.serving.serving_cases import at_once, classify_request, refusal, serve, values

X = {"x": np.float32([2, 4])}


@pytest.fixture(scope="module")
def batching(tmp_path_factory):
    """A server that waits half a minute for 4 rows, unless there are 4."""
    file = tmp_path_factory.mktemp("batching") / "batching.txt"
    file.write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 30000000 } "
        "num_batch_threads { value: 2 } max_enqueued_batches { value: 8 }"
    )
    with serve(enable_batching=True, batching_parameters_file=str(file)) as target:
        yield target


def test_requests_that_arrive_together_are_one_batch(batching):
    results = at_once([lambda n=n: batching.predict({"x": np.float32([n])}) for n in range(4)])
    assert [values(r).tolist() for r in results] == [[2], [2.5], [3], [3.5]]


def test_one_bad_request_does_not_fail_the_others_of_its_batch(batching):
    texts = [b"1", b"no number", b"3", b"4"]
    results = at_once(
        [lambda t=t: batching.predict({"numbers": np.array([t], object)}, "numbers") for t in texts]
    )
    assert results[1].code() == StatusCode.INVALID_ARGUMENT
    assert "no number" in results[1].details()
    assert [values(results[n], "values").tolist() for n in (0, 2, 3)] == [[1], [3], [4]]


def test_a_full_batch_of_one_request_needs_no_company(batching):
    x = np.float32([1, 2, 3, 4])
    np.testing.assert_array_equal(values(batching.predict({"x": x})), x / 2 + 2)


def test_examples_are_batched_too(batching):
    results = at_once(
        [lambda: batching.predictions.Classify(classify_request(), 20) for _ in range(2)]
    )
    for result in results:
        assert [one.classes[0].score for one in result.result.classifications] == [2.5, 3.0]


def test_a_request_larger_than_a_batch_is_refused(batching):
    assert refusal(batching.predict, {"x": np.ones(5, "f")}) == (
        StatusCode.INVALID_ARGUMENT,
        "Task size 5 is larger than maximum input batch size 4",
    )


def test_variable_shapes_are_not_batched(batching):
    found = values(batching.predict({"x": np.ones((1, 7), "f")}, "ragged"), "total")
    np.testing.assert_array_equal(found, [7])


@pytest.mark.parametrize("x", [np.int32([1]), np.float32(1), np.ones((1, 2), "f")])
def test_what_fits_no_batch_is_refused_at_once(batching, x):
    started = time.monotonic()
    assert refusal(batching.predict, {"x": x})[0] == StatusCode.INVALID_ARGUMENT
    assert time.monotonic() - started < 10


def test_nothing_is_computed_alone(batching):
    started = time.monotonic()
    assert values(batching.predict({"x": np.zeros(0, "f")})).shape == (0,)
    assert time.monotonic() - started < 10


def test_waiting_for_a_batch_ends_with_the_deadline(tmp_path):
    file = tmp_path / "batching.txt"
    file.write_text("max_batch_size { value: 4 } batch_timeout_micros { value: 1000000 }")
    with serve(enable_batching=True, batching_parameters_file=str(file)) as target:
        code, _ = refusal(target.predict, {"x": np.float32([1])}, timeout=0.2)
        assert code == StatusCode.DEADLINE_EXCEEDED
        # The abandoned row is still in the next batch, which has to be right nevertheless.
        results = at_once([lambda n=n: target.predict({"x": np.float32([n])}) for n in range(4, 8)])
    assert [values(r).tolist() for r in results] == [[4], [4.5], [5], [5.5]]
