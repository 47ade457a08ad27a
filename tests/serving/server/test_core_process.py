"""How the stand-in begins and ends."""

import threading
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from serving.server.options import Options
from serving.server.server import Server
from tests.support.serving.serving_cases import (
    MODEL,
    free_port,
    predict_request,
    process,
    serve,
    shared_model,
    values,
)
from tests.support.serving.serving_models import SLEEP_SECONDS

X = {"x": np.float32([2, 4])}


@pytest.mark.parametrize("which", ["port", "rest_api_port"])
def test_a_port_that_is_taken_is_named(which):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"port": free_port(), "rest_api_port": free_port()} | {which: port}
        with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{port}: .*--{which}"):
            Server(Options(model_base_path=str(shared_model()), **ports))


def test_it_listens_on_loopback_only():
    with serve() as target:
        for address in (target.grpc, target.rest):
            (host,) = listening_hosts(int(address.rpartition(":")[2]))
            assert host.removeprefix("0000000000000000FFFF0000") == "0100007F"


def listening_hosts(port):
    """The addresses, in hexadecimal, that the kernel has listening sockets of this port on."""
    found = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as file:
            for line in list(file)[1:]:
                host, _, number = line.split()[1].partition(":")
                if int(number, 16) == port and line.split()[3] == "0A":
                    found.add(host)
    return found


@pytest.mark.slow
def test_sigterm_answers_what_was_accepted_and_ends_with_0(tmp_path):
    flags = (f"--model_base_path={shared_model()}", f"--model_name={MODEL}")
    with process(tmp_path, *flags) as server:
        target = server.target
        rest = urllib.request.Request(
            f"http://{target.rest}/v1/models/{MODEL}:predict",
            b'{"signature_name": "sleep", "instances": [2]}',
        )
        answers = []
        by_rest = threading.Thread(
            target=lambda: answers.append(urllib.request.urlopen(rest, timeout=20).read())
        )
        target.predict(X)
        by_rest.start()
        futures = [
            target.predictions.Predict.future(predict_request(X, "sleep"), 20) for _ in range(9)
        ]
        time.sleep(SLEEP_SECONDS / 2)
        assert server.terminate() == 0, server.log.read_text()
        for future in futures:
            np.testing.assert_array_equal(values(future.result()), [3, 4])
        by_rest.join()
        assert b"3.0" in answers[0]
        assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_a_user_error_is_one_line_and_exit_code_1(tmp_path):
    with process(tmp_path, "--model_config_file=/none/models.config") as server:
        assert server.popen.wait(60) == 1
        last = server.log.read_text().splitlines()[-1]
        assert last == "error: /none/models.config: no such file."


@pytest.mark.slow
def test_sigterm_while_it_waits_for_a_model_ends_it(tmp_path):
    (tmp_path / "empty").mkdir()
    with process(tmp_path, f"--model_base_path={tmp_path}/empty", wait=False) as server:
        while "Did you forget to name your leaf directory" not in server.log.read_text():
            assert server.popen.poll() is None
            time.sleep(0.05)
        assert server.terminate() == 0


@pytest.mark.slow
def test_sigterm_under_load_loses_no_accepted_request(tmp_path):
    flags = (f"--model_base_path={shared_model()}", f"--model_name={MODEL}")
    with process(tmp_path, *flags) as server:
        results = []

        def ask():
            while True:
                try:
                    results.append(values(server.target.predict(X)).tolist())
                except grpc.RpcError as error:
                    results.append(error.code())
                    if error.code() == StatusCode.UNAVAILABLE:
                        return

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        assert server.terminate() == 0
        for thread in threads:
            thread.join()
    # Refused ones may be sent anew without harm: they were not accepted.
    assert {str(result) for result in results} == {"[3.0, 4.0]", "StatusCode.UNAVAILABLE"}
