"""What one client may take: bytes, threads, time."""

import gc
import threading
import time
import weakref

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.server.errors import ServingError
from serving.server.models import inference
from serving.tensorflow_c.c_api import TensorFlowError
from tests.support.serving.serving_cases import (
    MODEL,
    at_once,
    eventually,
    predict_request,
    refusal,
    serve,
    values,
)
from tests.support.serving.serving_models import SLEEP_SECONDS
from tests.support.serving.serving_rest_cases import post

X = {"x": np.float32([2, 4])}


def test_too_large_a_request_is_refused_and_a_large_answer_is_not():
    with serve(max_request_bytes=2**16) as target:
        x = np.ones(2**13, "f")
        np.testing.assert_array_equal(values(target.predict({"x": x})), x / 2 + 2)
        code, message = refusal(target.predict, {"x": np.ones(2**15, "f")})
        assert code == StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in message


def test_a_tensor_of_a_few_bytes_cannot_declare_gigabytes():
    bomb = TensorProto(dtype=1, float_val=[1.0])
    bomb.tensor_shape.dim.add(size=2**40)
    with serve() as target:
        code, message = refusal(target.predict, {"x": bomb})
        assert code == StatusCode.INVALID_ARGUMENT
        assert f"x of the shape ({2**40},) is larger than the server's limit" in message


def test_more_requests_than_may_wait_are_refused_and_the_others_are_answered():
    with serve(grpc_max_threads=2, grpc_max_waiting_requests=2) as target:
        results = at_once([lambda: target.predict(X, "sleep") for _ in range(12)])
        refused = [r for r in results if isinstance(r, grpc.RpcError)]
        answered = [r for r in results if not isinstance(r, grpc.RpcError)]
        assert {error.code() for error in refused} == {StatusCode.RESOURCE_EXHAUSTED}
        assert len(answered) >= 4
        for response in answered:
            np.testing.assert_array_equal(values(response), [3, 4])


def test_clients_that_go_away_leave_nothing_behind():
    with serve(grpc_max_threads=2, grpc_max_waiting_requests=30) as target:
        for _ in range(3):
            calls = [
                target.predictions.Predict.future(predict_request(X, "sleep"), 20)
                for _ in range(30)
            ]
            time.sleep(SLEEP_SECONDS / 4)
            for call in calls:
                call.cancel()
        # Those that waited are not computed: 90 of them, two at a time, would take long.
        started = time.monotonic()
        eventually(lambda: not _refused(target))
        assert time.monotonic() - started < 10 * SLEEP_SECONDS


def test_clients_that_announce_requests_and_never_send_them_are_put_out():
    path = "/tensorflow.serving.PredictionService/Predict"
    never, limits = threading.Event(), {"grpc_max_threads": 1, "grpc_max_waiting_requests": 2}

    def nothing():
        never.wait()
        yield b""

    with serve(receive_seconds=3, **limits) as target:

        def announce():
            return target.channel.stream_unary(path).future(nothing(), 20)

        slow = [announce() for _ in range(3)]

        def have_all_places():
            # Who looks has one of the places meanwhile, for which one of them may be refused.
            slow[:] = [announce() if call.done() else call for call in slow]
            return _refused(target)

        eventually(have_all_places)
        eventually(lambda: not _refused(target))
        assert {call.code() for call in slow} == {StatusCode.CANCELLED}
        never.set()


def _refused(target):
    try:
        return target.predict(X) is None
    except grpc.RpcError as error:
        return error.code() == StatusCode.RESOURCE_EXHAUSTED


def test_a_request_without_a_message_is_refused():
    with serve() as target:
        call = target.channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
        assert refusal(lambda: call(iter([]), timeout=20)) == (
            StatusCode.INVALID_ARGUMENT,
            "The request has no message.",
        )


def test_a_request_that_waits_too_long_is_not_computed():
    with serve(grpc_max_threads=1) as target:
        first = target.predictions.Predict.future(predict_request(X, "sleep"), 20)
        time.sleep(SLEEP_SECONDS / 4)
        code, _ = refusal(lambda: target.predict(X, timeout=SLEEP_SECONDS / 4))
        assert code == StatusCode.DEADLINE_EXCEEDED
        np.testing.assert_array_equal(values(first.result()), [3, 4])


def test_what_was_not_foreseen_is_an_internal_error_without_a_trace(monkeypatch):
    def fail(*arguments):
        raise KeyError("/secret/path")

    monkeypatch.setattr(inference, "fill_tensor", fail)
    with serve() as target:
        code, message = refusal(target.predict, X)
    assert code == StatusCode.INTERNAL
    assert message == "The server failed to answer; its log says why."


@pytest.mark.parametrize(
    "error",
    [
        lambda: ServingError(StatusCode.INVALID_ARGUMENT, "no"),
        lambda: TensorFlowError(StatusCode.INVALID_ARGUMENT.value[0], "no"),
    ],
)
def test_nothing_of_a_refused_request_is_alive_after_its_answer(monkeypatch, error):
    """Also without the garbage collector: its bytes no longer count as under way."""
    alive = []

    def refuse(servable, request, rules, timeout_s):
        tensors = np.zeros(2**16)
        alive.append(weakref.ref(tensors))
        raise error()

    monkeypatch.setattr(inference, "predict", refuse)
    with serve() as target:
        gc.disable()
        try:
            assert refusal(target.predict, X) == (StatusCode.INVALID_ARGUMENT, "no")
            path = f"/v1/models/{MODEL}:predict"
            answer = post(int(target.rest.rpartition(":")[2]), path, {"instances": [1]})
            assert answer == (400, {"error": "no"})
            assert len(alive) == 2
            eventually(lambda: all(ref() is None for ref in alive), 5)
        finally:
            gc.enable()
