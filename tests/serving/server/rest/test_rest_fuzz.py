"""Bodies of all kinds never bring the REST API to an answer that is the server's fault."""

import pytest
from hypothesis import HealthCheck, given, settings

from serving.server.rest.rest import RestOptions
from tests.fuzz_rest import BODIES, VERBS, check
from tests.support.cases import slow
from tests.support.serving.serving_rest_cases import FakeBackend, call, rest_server

BACKEND = FakeBackend()
QUICK = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("examples", [50, slow(500)])
def test_every_body_is_answered_or_refused(examples):
    @settings(QUICK, max_examples=examples)
    @given(VERBS, BODIES)
    def ask(verb, body):
        assert check(BACKEND, verb, body) in ("OK", "INVALID_ARGUMENT", "UNIMPLEMENTED")

    ask()


def test_every_body_is_answered_over_http(caplog):
    with rest_server(FakeBackend(), RestOptions(threads=1)) as port:

        @settings(QUICK, max_examples=30)
        @given(VERBS, BODIES)
        def send(verb, body):
            status, _, reply = call(port, "POST", f"/v1/models/m:{verb}", body)
            assert status in (200, 400, 501)
            assert reply

        send()
    assert not caplog.records
