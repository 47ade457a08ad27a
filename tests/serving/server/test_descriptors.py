"""A server that is held more connections than it can have answers on, and its log stays short."""

import contextlib
import resource
import socket
import time
import urllib.request

import numpy as np
import pytest

from serving.server.options import Options, most_connections
from tests.serving.server.test_core_metrics import metrics_of
from tests.support.serving.serving_cases import (
    MODEL,
    eventually,
    process,
    running,
    shared_model,
    values,
)

X = {"x": np.float32([2])}


def connected(address, count, stack):
    """So many connections, or as many as there can be, to host:port."""
    host, _, port = address.rpartition(":")
    sockets = []
    for _ in range(count):
        connection = stack.enter_context(socket.socket())
        connection.settimeout(0.5)
        try:
            connection.connect((host, int(port)))
        except OSError:
            break
        sockets.append(connection)
    return sockets


@pytest.mark.slow
@pytest.mark.parametrize("end", ["grpc", "rest"])
def test_at_the_limit_of_descriptors_the_log_stays_short(tmp_path, end):
    flags = f"--model_base_path={shared_model()}", f"--model_name={MODEL}"
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        context = process(tmp_path, *flags)
        server = context.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    with contextlib.ExitStack() as leave:
        leave.push(context)
        with contextlib.ExitStack() as stack:
            connected(getattr(server.target, end), 400, stack)
            time.sleep(3)  # in which there were thousands of tracebacks
        np.testing.assert_array_equal(
            values(eventually(lambda: _answer(lambda: server.target.predict(X)))), [3]
        )
        url = f"http://{server.target.rest}/v1/models/{MODEL}"
        assert eventually(lambda: _answer(lambda: urllib.request.urlopen(url, timeout=20).status))
        log = server.log.read_text()
    assert "Traceback" not in log
    assert len(log.splitlines()) < 60


def _answer(ask):
    with contextlib.suppress(Exception):
        return ask()


def test_connections_are_limited_and_counted(tmp_path):
    (tmp_path / "monitoring.txt").write_text("prometheus_config { enable: true }")
    options = {
        "model_base_path": str(shared_model()),
        "model_name": MODEL,
        "max_connections": 5,
        "monitoring_config_file": str(tmp_path / "monitoring.txt"),
    }
    with running(**options) as target:
        with contextlib.ExitStack() as stack:
            sockets = connected(target.rest, 8, stack)
            closed = 0
            for connection in sockets:
                with contextlib.suppress(TimeoutError):
                    closed += connection.recv(1) == b""
            assert closed == 3
        text = eventually(lambda: _answer(lambda: metrics_of(target)))
        assert 'stand_in_refused_count{bound="max_connections"} ' in text
        assert values(target.predict(X)) == [3]


def test_by_default_connections_leave_descriptors_to_files():
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most_connections(Options(max_connections=7)) == 7
    assert 2 * most_connections(Options()) <= max(descriptors - 100, 16)
