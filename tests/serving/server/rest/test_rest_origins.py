"""Web pages of others cannot use a server on loopback, by whatever name they call it."""

import json

import pytest

from serving.server.rest.rest import RestOptions
from serving.server.rest.rest_origins import Origins, is_loopback, listed
from tests.serving.server.test_core_metrics import metrics_of
from tests.serving.server.test_core_options import parse
from tests.support.serving.serving_cases import MODEL, serve
from tests.support.serving.serving_rest_cases import FakeBackend, call, rest_server

PATH = "/v1/models/m:predict"
BODY = {"instances": [1]}


@pytest.fixture(scope="module")
def loopback():
    with rest_server(FakeBackend(), RestOptions(origins=Origins(loopback_only=True))) as port:
        yield port


def status(port, host=None, method="POST", path=PATH, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if host is not None:
        headers["Host"] = host.replace("PORT", str(port))
    return call(port, method, path, BODY if method == "POST" else None, headers)[0]


@pytest.mark.parametrize(
    "host",
    ["localhost:PORT", "127.0.0.1", "127.3.2.1:1", "[::1]:PORT", "LOCALHOST.", "a.localhost"],
)
def test_names_of_loopback_are_answered(loopback, host):
    assert status(loopback, host) == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:PORT", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("10.0.0.1", "0.0.0.0", "[::]", "", "localhost@evil.example", "2130706433"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PATH),
        ("GET", "/v1/models/m"),
        ("GET", "/"),
        ("GET", "/config.json"),
        ("GET", "/monitoring/prometheus/metrics"),
    ],
)
def test_other_names_are_refused_whatever_is_asked(loopback, host, method, path):
    assert status(loopback, host, method, path) == 403


def test_the_refusal_says_which_flag_lets_in(loopback):
    _, _, reply = call(loopback, "POST", PATH, BODY, {"Host": "evil.example"})
    assert "'evil.example'; --allowed_hosts" in json.loads(reply)["error"]
    _, _, reply = call(loopback, "POST", PATH, BODY, {"Origin": "https://evil.example"})
    assert "'https://evil.example' may not ask" in json.loads(reply)["error"]
    assert "--cors_allowed_origins" in json.loads(reply)["error"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://"]
)
def test_pages_of_other_origins_are_refused(loopback, origin, content_type):
    assert status(loopback, Origin=origin, Content_Type=content_type) == 403
    reply = call(loopback, "POST", PATH, BODY, {"Origin": origin})[1]
    assert "Access-Control-Allow-Origin" not in reply


def test_the_page_of_the_server_itself_may_ask(loopback):
    for name in ("localhost", "127.0.0.1"):
        assert status(loopback, f"{name}:PORT", Origin=f"http://{name}:{loopback}") == 200
    assert status(loopback, "localhost", Origin="http://localhost") == 200
    assert status(loopback, "localhost", Origin="https://localhost:443") == 200


def test_origins_that_are_named_may_ask_and_read_the_answer():
    origins = Origins(loopback_only=True, origins=listed("https://a.example/, https://b.example"))
    with rest_server(FakeBackend(), RestOptions(origins=origins)) as port:
        for body, expected in ((BODY, 200), ({}, 400)):  # errors can be read, too
            found, headers, _ = call(port, "POST", PATH, body, {"Origin": "https://a.example"})
            assert found == expected
            assert headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert headers["Vary"] == "Origin"
        assert status(port, Origin="https://c.example") == 403
        asked = {"Origin": "https://b.example", "Access-Control-Request-Method": "POST"}
        found, headers, _ = call(port, "OPTIONS", PATH, None, asked)
        assert (found, headers["Access-Control-Allow-Origin"]) == (200, "https://b.example")
        assert "POST" in headers["Access-Control-Allow-Methods"]
        found, headers, _ = call(port, "OPTIONS", PATH, None, {"Origin": "https://c.example"})
        assert "Access-Control-Allow-Origin" not in headers


def test_hosts_that_are_named_are_answered():
    origins = Origins(loopback_only=True, hosts=frozenset({"serving.example"}))
    with rest_server(FakeBackend(), RestOptions(origins=origins)) as port:
        assert status(port, "serving.example:80") == status(port, "localhost") == 200
        assert status(port, "evil.example") == 403


def test_elsewhere_any_name_will_do_unless_some_are_named():
    assert Origins().check("anything.example", None) == {}
    assert Origins(hosts=frozenset({"*"}), loopback_only=True).check("x.example", None) == {}
    with pytest.raises(Exception, match=r"name 'b\.example'; --allowed_hosts"):
        Origins(hosts=frozenset({"a.example"})).check("b.example", None)


def test_the_server_checks_by_its_flags(tmp_path):
    options = parse("--allowed_hosts=a.example", "--cors_allowed_origins=https://b.example")
    assert (options.allowed_hosts, options.cors_allowed_origins) == (
        "a.example",
        "https://b.example",
    )
    (tmp_path / "monitoring.txt").write_text("prometheus_config { enable: true }")
    with serve(
        allowed_hosts="a.example",
        cors_allowed_origins="https://b.example",
        monitoring_config_file=str(tmp_path / "monitoring.txt"),
    ) as target:
        port = int(target.rest.rpartition(":")[2])
        path = f"/v1/models/{MODEL}:predict"
        assert status(port, path=path) == 200
        assert status(port, "a.example", path=path) == 200
        assert status(port, "evil.example", path=path) == 403
        assert status(port, path=path, Origin="https://b.example") == 200
        assert status(port, path=path, Origin="https://evil.example") == 403
        text = metrics_of(target)
    for bound in ("allowed_hosts", "cors_allowed_origins"):
        assert f'stand_in_refused_count{{bound="{bound}"}} 1.0' in text


def test_which_names_are_loopback():
    assert all(map(is_loopback, ["127.0.0.1", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "localhost.example", "10.0.0.1", ""]))
