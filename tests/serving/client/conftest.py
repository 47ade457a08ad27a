"""Servers that answer as told, for every kind of client."""

import pytest

from tests.support.serving.serving_client_cases import KINDS
from tests.support.serving.serving_fakes import grpc_fake, rest_fake


@pytest.fixture(scope="module")
def fakes():
    with grpc_fake() as over_grpc, rest_fake() as over_rest:
        yield {"grpc": over_grpc, "rest": over_rest}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def fake(fakes, kind):
    return fakes[kind.split()[-1]].fresh()
