"""The client and servers that are away, slow, or say what makes no sense."""

import threading
import time

import numpy as np
import pytest
from aiohttp import web

from serving.client import RequestError, RetryPolicy
from tests.support.serving.serving_client_cases import ask
from tests.support.serving.serving_fakes import MODEL, Fail, grpc_fake, rest_fake


def test_a_server_that_is_away_for_a_moment_is_asked_again(fake, kind):
    fake.script += [Fail("UNAVAILABLE"), Fail("UNAVAILABLE")]
    assert ask(kind, fake.address, "classify", [b"x"])[0][0].name == "1"
    assert len(fake.requests) == 3


def test_attempts_have_a_number(fake, kind):
    fake.always = Fail("UNAVAILABLE", "too busy")
    with pytest.raises(RequestError, match=r"UNAVAILABLE: too busy \(5 attempts\)$") as failure:
        ask(kind, fake.address, "classify", [b"x"])
    assert len(fake.requests) == failure.value.attempts == 5


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND"])
def test_a_refusal_is_final_and_says_what_the_server_said(fake, kind, code):
    fake.always = Fail(code, "no\n  such thing")
    with pytest.raises(RequestError) as failure:
        ask(kind, fake.address, "classify", [b"x"])
    assert len(fake.requests) == 1
    error = failure.value
    assert (error.code, error.message) == (code, "no such thing")
    assert (error.server, error.model, error.attempts) == (fake.address, MODEL, 1)
    assert str(error) == f"{fake.address}, model {MODEL}: {code}: no such thing"


def test_a_slow_server_is_given_up_at_the_deadline(fake, kind):
    fake.always = 2.0
    start = time.monotonic()
    with pytest.raises(RequestError, match="DEADLINE_EXCEEDED"):
        ask(kind, fake.address, "classify", [b"x"], timeout_s=0.3)
    assert 0.25 < time.monotonic() - start < 1.5
    assert len(fake.requests) == 1


def test_the_deadline_holds_for_all_attempts_together(fake, kind):
    fake.always = Fail("UNAVAILABLE")
    options = {"retries": RetryPolicy(attempts=1000, first_pause_s=0.05, max_pause_s=0.05)}
    start = time.monotonic()
    with pytest.raises(RequestError, match=r"UNAVAILABLE|DEADLINE_EXCEEDED"):
        ask(kind, fake.address, "classify", [b"x"], options=options, timeout_s=0.4)
    assert time.monotonic() - start < 1.0
    assert len(fake.requests) > 1  # how many depends on the machine


def test_an_attempt_that_hangs_is_made_again_where_the_policy_says_so(fake, kind):
    fake.script.append(3.0)
    options = {"retries": RetryPolicy(first_pause_s=0.01, attempt_timeout_s=0.3)}
    start = time.monotonic()
    assert ask(kind, fake.address, "classify", [b"x"], options=options)[0][0].name == "1"
    assert time.monotonic() - start < 2.0
    assert len(fake.requests) == 2


def test_a_server_that_starts_late_is_found(kind):
    serve = grpc_fake if kind.endswith("grpc") else rest_fake
    with serve() as first:
        address = first.address
    options = {"retries": RetryPolicy(attempts=100, first_pause_s=0.05, max_pause_s=0.05)}
    found = []
    client = threading.Thread(
        target=lambda: found.extend(ask(kind, address, "classify", [b"x"], options=options))
    )
    client.start()
    time.sleep(0.3)
    with serve(port=int(address.rpartition(":")[2])):
        client.join()
    assert found[0][0].name == "1"


def test_an_unreachable_server_is_named(kind):
    serve = grpc_fake if kind.endswith("grpc") else rest_fake
    with serve() as gone:
        address = gone.address
    with pytest.raises(RequestError, match=f"^{address}, model {MODEL}: UNAVAILABLE: .*refused"):
        ask(kind, address, "model_status")


def wrong_outputs(outputs):
    """For both fakes: over gRPC arrays, over REST JSON."""
    return lambda inputs: outputs


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"classes": [["a"], ["b"]], "scores": [[1.0], [1.0]]}, "of 1 pictures. .*(2, 1)"),
        ({"classes": [["a", "b"]], "scores": [[1.0]]}, r"\(1, 2\) and \(1, 1\)"),
        ({"classes": [[1.0]], "scores": [[1.0]]}, "expected names"),
        ({"classes": [["a"]]}, "expected the output scores. Received: classes"),
    ],
)
def test_an_answer_to_another_question_is_an_error(fake, kind, outputs, said):
    arrays = {
        name: np.array(
            value, object if name == "classes" and isinstance(value[0][0], str) else np.float32
        )
        for name, value in outputs.items()
    }
    fake.always = wrong_outputs(arrays if kind.endswith("grpc") else outputs)
    with pytest.raises(RequestError, match=f"INTERNAL: .*{said}"):
        ask(kind, fake.address, "classify", [b"x"])
    assert len(fake.requests) == 1


@pytest.mark.parametrize("kind", ["rest", "async rest"], indirect=True)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html>hello", "the answer is no JSON: '<html>hello'"),
        ("[]", "the answer lacks outputs"),
        ('{"outputs": 3}', "expected the outputs classes, scores"),
        ('{"outputs": {"classes": [["a"], 3], "scores": [[1]]}}', "classes is no tensor"),
    ],
)
def test_rubbish_over_rest_is_an_error(fake, kind, text, said):
    fake.script.append(web.Response(text=text))
    with pytest.raises(RequestError, match=f"INTERNAL: .*{said}"):
        ask(kind, fake.address, "classify", [b"x"])


@pytest.mark.parametrize("kind", ["rest", "async rest"], indirect=True)
def test_a_closed_connection_and_a_busy_answer_are_tried_again(fake, kind):
    fake.script += [Fail("CLOSE"), Fail(429, headers={"Retry-After": "1"}), Fail(502)]
    start = time.monotonic()
    assert ask(kind, fake.address, "classify", [b"x"])[0][0].name == "1"
    assert time.monotonic() - start > 1
    assert len(fake.requests) == 4


@pytest.mark.parametrize("kind", ["rest", "async rest"], indirect=True)
def test_an_error_without_words_is_quoted(fake, kind):
    fake.script.append(web.Response(status=500, text="<h1>" + "long " * 100))
    with pytest.raises(RequestError, match=r"INTERNAL: HTTP status 500: '<h1>long .*\.\.\.'$"):
        ask(kind, fake.address, "classify", [b"x"])
