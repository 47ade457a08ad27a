"""The REST side under clients that are slow, gone, too many or too big."""

import contextlib
import gc
import gzip
import http.client
import json
import socket
import threading
import time

import pytest

from serving.server.budget import Budget
from serving.server.rest import rest_bodies
from serving.server.rest.rest import RestOptions
from tests.support.serving.serving_rest_cases import FakeBackend, call, post, rest_server

PATH = "/v1/models/m:predict"
MEBIBYTE = 2**20
GOOD = {"instances": [1]}
WAIT = {"signature_name": "wait", "instances": [1]}


@contextlib.contextmanager
def raw(port):
    """A socket to the server that times out after some seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        yield connection


def head(length, extra=""):
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


def received(connection):
    """All that the server sends until it closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            data += part
    return data


@pytest.fixture(scope="module")
def small():
    """A server with a limit of 1 MiB."""
    with rest_server(FakeBackend(), RestOptions(max_body_bytes=MEBIBYTE)) as port:
        yield port


def test_a_body_over_the_limit_is_refused_unread(small):
    with raw(small) as connection:
        connection.sendall(head(256 * MEBIBYTE))
        reply = connection.recv(65536)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"more than 1048576 bytes" in reply


def test_a_client_that_asks_first_is_refused_before_it_sends(small):
    with raw(small) as connection:
        connection.sendall(head(2 * MEBIBYTE, "Expect: 100-continue\r\n"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    body = json.dumps(GOOD).encode()
    with raw(small) as connection:
        connection.sendall(head(len(body), "Expect: 100-continue\r\nConnection: close\r\n"))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert received(connection).startswith(b"HTTP/1.1 200 ")


def test_a_body_without_length_is_counted_as_it_comes(small):
    def chunks():
        for _ in range(40):
            yield b" " * 65536

    connection = http.client.HTTPConnection("127.0.0.1", small, timeout=15)
    with contextlib.suppress(ConnectionError):
        connection.request("POST", PATH, chunks(), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_gzip_bodies_are_inflated_up_to_the_limit(small):
    encoded = {"Content-Encoding": "gzip"}
    body = json.dumps(GOOD).encode()
    assert call(small, "POST", PATH, gzip.compress(body), encoded)[0] == 200
    bomb = gzip.compress(b" " * (50 * MEBIBYTE))
    assert len(bomb) < MEBIBYTE
    assert call(small, "POST", PATH, bomb, encoded)[0] == 413
    status, _, reply = call(small, "POST", PATH, b"no gzip at all", encoded)
    assert status == 400
    assert "not encoded as its headers say" in json.loads(reply)["error"]


def test_the_bodies_of_all_requests_together_are_limited():
    budget = Budget(MEBIBYTE)
    options = RestOptions(max_body_bytes=MEBIBYTE, bytes_under_way=budget)
    with rest_server(FakeBackend(), options) as port, raw(port) as holder:
        holder.sendall(head(MEBIBYTE) + b" " * (MEBIBYTE - 1))
        until(lambda: budget.taken() == MEBIBYTE - 1)
        assert post(port, PATH, GOOD)[0] == 503
        holder.sendall(b" ")
        assert holder.recv(65536).startswith(b"HTTP/1.1 400 ")  # blank is no JSON
        assert post(port, PATH, GOOD)[0] == 200


def test_a_slow_head_ends_the_connection():
    with rest_server(FakeBackend(), RestOptions(idle_timeout_s=0.3)) as port, raw(port) as slow:
        slow.sendall(f"POST {PATH} HTTP/1.1\r\nHost:".encode())
        assert post(port, PATH, GOOD)[0] == 200
        assert received(slow) == b""


def test_a_slow_body_is_answered_408(monkeypatch):
    monkeypatch.setattr(rest_bodies, "_GRACE_S", 0.3)
    with rest_server(FakeBackend(), RestOptions()) as port, raw(port) as slow:
        slow.sendall(head(1000) + b"{")
        assert post(port, PATH, GOOD)[0] == 200
        assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_hundred_stalled_clients_keep_nobody_out():
    with rest_server(FakeBackend(), RestOptions()) as port, contextlib.ExitStack() as stack:
        for n in range(100):
            client = stack.enter_context(raw(port))
            client.sendall((head(1000) + b"{")[: 20 + n])
        assert all(post(port, PATH, GOOD)[0] == 200 for _ in range(20))


def in_background(port, backend, count):
    """Threads with one call of the signature "wait" each, and the list of their statuses."""
    statuses = []
    threads = []
    for _ in range(count):
        thread = threading.Thread(target=lambda: statuses.append(post(port, PATH, WAIT)[0]))
        thread.start()
        threads.append(thread)
    return threads, statuses


def until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def test_calls_beyond_the_queue_are_refused_and_status_still_answers():
    backend = FakeBackend()
    options = RestOptions(threads=1, waiting=1)
    with rest_server(backend, options) as port:
        threads, statuses = in_background(port, backend, 5)
        until(lambda: len(statuses) == 3)
        assert statuses == [503] * 3
        status, headers, _ = call(port, "POST", PATH, WAIT)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert call(port, "GET", "/v1/models/m")[0] == 200
        backend.gate.set()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 503, 503, 503]
        assert post(port, PATH, GOOD)[0] == 200


def test_calls_that_take_too_long_are_answered_504():
    backend = FakeBackend()
    with rest_server(backend, RestOptions(threads=1, timeout_s=0.2)) as port:
        status, reply = post(port, PATH, WAIT)
        assert (status, reply["error"]) == (504, "There was no answer within 0.2 seconds.")
        backend.gate.set()
        until(lambda: post(port, PATH, GOOD)[0] == 200)


def test_the_backend_is_told_when_nobody_will_wait_any_more():
    """Which ends the computation: the thread would else be busy with it long after the 504."""
    told = []

    class Recorder(FakeBackend):
        def predict(self, request, timeout_s=None):
            told.append(timeout_s)
            return super().predict(request)

    with rest_server(Recorder(), RestOptions(timeout_s=5)) as port:
        assert post(port, PATH, GOOD)[0] == 200
    assert len(told) == 1
    assert 4 < told[0] < 5


def test_calls_of_clients_that_went_away_are_not_worked_on():
    backend = FakeBackend()
    with rest_server(backend, RestOptions(threads=1)) as port:
        threads, statuses = in_background(port, backend, 1)
        until(lambda: backend.waiting == 1)
        body = json.dumps(WAIT).encode()
        for _ in range(20):
            with raw(port) as vanishing:
                vanishing.sendall(head(len(body)) + body)
        with raw(port) as vanishing:
            vanishing.sendall(head(1000) + b"{")
        time.sleep(0.3)  # for the server to see that they left
        backend.gate.set()
        for thread in threads:
            thread.join()
        assert statuses == [200]
        assert post(port, PATH, GOOD)[0] == 200
        assert backend.waiting == 1


def test_a_client_that_does_not_read_its_answer_is_dropped(caplog):
    size = 24 * MEBIBYTE  # more than the buffers of both ends hold
    request = {"signature_name": "echo_DT_STRING", "instances": ["x" * size]}
    body = json.dumps(request).encode()
    with rest_server(FakeBackend(), RestOptions(timeout_s=2)) as port, raw(port) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
        silent.sendall(head(len(body)) + body)
        assert silent.recv(15, socket.MSG_PEEK).startswith(b"HTTP/1.1 200")
        time.sleep(2.5)  # longer than the answer may take to be read
        assert len(received(silent)) < size
        assert post(port, PATH, GOOD)[0] == 200
    assert not caplog.records


def test_nothing_is_left_of_clients_that_went_away_when_the_server_stops(caplog):
    with rest_server(FakeBackend(), RestOptions()) as port:
        with raw(port) as vanishing:  # answered before its body has come
            vanishing.sendall(
                b"POST /nothing/here HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
            )
            assert vanishing.recv(12) == b"HTTP/1.1 404"
        assert post(port, PATH, GOOD)[0] == 200
    gc.collect()  # where asyncio complains of tasks that never ended
    assert not caplog.records


def test_a_connection_serves_many_requests_also_after_an_error(small):
    connection = http.client.HTTPConnection("127.0.0.1", small, timeout=15)
    local = set()
    for body, expected in [(json.dumps(GOOD), 200), ("{", 400), (json.dumps(GOOD), 200)]:
        connection.request("POST", PATH, body)
        response = connection.getresponse()
        response.read()
        assert response.status == expected
        local.add(connection.sock.getsockname())
    connection.close()
    assert len(local) == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(5000)) + b"\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_refused(small, request_bytes):
    with raw(small) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        reply = received(connection)
    assert reply == b"" or reply.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"Traceback" not in reply
    assert post(small, PATH, GOOD)[0] == 200
