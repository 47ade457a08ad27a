"""REST: what a client of TensorFlow Serving relies on, asked by plain HTTP.

The tests ask the server that TFS_TARGET names, if it is set, and the stand-in otherwise.
"""

import base64
import http.client
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.serving import serving_cases
from tests.support.serving.serving_cases import MODEL, VERSION

PATH = f"/v1/models/{MODEL}"
STATUS = {
    "version": str(VERSION),
    "state": "AVAILABLE",
    "status": {"error_code": "OK", "error_message": ""},
}


@pytest.fixture(scope="module")
def address():
    return serving_cases.shared_target().rest


def ask(address, method, path, request=None):
    """(HTTP status, reply)."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        body = request if isinstance(request, (str, bytes, type(None))) else json.dumps(request)
        connection.request(method, path, body)
        response = connection.getresponse()
        reply = response.read()
        assert response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(reply)
    finally:
        connection.close()


def refusal(address, method, path, request=None):
    """(HTTP status, message of the error)."""
    status, reply = ask(address, method, path, request)
    assert set(reply) == {"error"}
    return status, reply["error"]


@pytest.mark.parametrize("version", ["", f"/versions/{VERSION}"])
def test_model_status(address, version):
    assert ask(address, "GET", PATH + version) == (200, {"model_version_status": [STATUS]})


@pytest.mark.parametrize("version", ["", f"/versions/{VERSION}"])
def test_metadata(address, version):
    status, reply = ask(address, "GET", f"{PATH}{version}/metadata")
    assert status == 200
    assert reply["model_spec"] == {
        "name": MODEL,
        "signature_name": "",
        "version": str(VERSION),
    }
    signatures = reply["metadata"]["signature_def"]["signature_def"]
    pair = signatures["pair"]
    assert pair["method_name"] == "tensorflow/serving/predict"
    assert pair["inputs"]["a"]["dtype"] == "DT_FLOAT"
    assert pair["inputs"]["a"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
        "unknown_rank": False,
    }


@pytest.mark.parametrize("version", ["", f"/versions/{VERSION}"])
def test_predict_by_rows_and_by_columns(address, version):
    path = f"{PATH}{version}:predict"
    assert ask(address, "POST", path, {"instances": [2, 4.0]}) == (200, {"predictions": [3, 4]})
    assert ask(address, "POST", path, {"instances": [{"x": 2}]}) == (200, {"predictions": [3]})
    assert ask(address, "POST", path, {"inputs": [2, 4.0]}) == (200, {"outputs": [3, 4]})
    assert ask(address, "POST", path, {"inputs": {"x": [2], "y": 1}}) == (200, {"outputs": [3]})


def test_several_inputs_and_outputs_are_objects(address):
    request = {"signature_name": "pair", "instances": [{"a": [1, 2], "b": [3, 4]}]}
    assert ask(address, "POST", f"{PATH}:predict", request) == (
        200,
        {"predictions": [{"sum": [4, 6], "product": [3, 8]}]},
    )
    request = {"signature_name": "pair", "inputs": {"a": [[1, 2]], "b": [[3, 4]]}}
    assert ask(address, "POST", f"{PATH}:predict", request) == (
        200,
        {"outputs": {"sum": [[4, 6]], "product": [[3, 8]]}},
    )


def test_rows_have_exactly_the_keys_and_columns_at_least(address):
    rows = {"signature_name": "pair", "instances": [{"a": [1, 2], "b": [3, 4], "c": 1}]}
    status, message = refusal(address, "POST", f"{PATH}:predict", rows)
    assert status == 400
    assert re.search(r"\bc\b", message)
    columns = {"signature_name": "pair", "inputs": {"a": [[1, 2]]}}
    status, message = refusal(address, "POST", f"{PATH}:predict", columns)
    assert status == 400
    assert re.search(r"\bb\b", message)


def test_binary_goes_in_as_b64_and_comes_out_so_from_names_in_bytes(address):
    data = bytes(range(256))
    encoded = base64.b64encode(data).decode()
    request = {"signature_name": "strings", "instances": [{"b64": encoded}, "text"]}
    assert ask(address, "POST", f"{PATH}:predict", request) == (
        200,
        {
            "predictions": [
                {"twice_bytes": {"b64": base64.b64encode(data * 2).decode()}, "length": 256},
                {"twice_bytes": {"b64": base64.b64encode(b"texttext").decode()}, "length": 4},
            ]
        },
    )


def test_dtypes_without_json_are_not_implemented(address):
    echo = ask(address, "GET", f"{PATH}/metadata")[1]["metadata"]["signature_def"]
    inputs = echo["signature_def"]["echo"]["inputs"]
    columns = {name: [1] for name in inputs} | {"bool": [True], "string": ["1"]}
    request = {"signature_name": "echo", "inputs": columns}
    status, message = refusal(address, "POST", f"{PATH}:predict", request)
    assert status == 501
    assert "type" in message


def test_special_floats_pass_both_ways(address):
    body = '{"instances": [NaN, Infinity, -Infinity]}'
    status, reply = ask(address, "POST", f"{PATH}:predict", body)
    assert status == 200
    assert [str(value) for value in reply["predictions"]] == ["nan", "inf", "-inf"]


def test_classify_and_regress(address):
    request = {"signature_name": "classify", "examples": [{"x": 2.0}, {"x": [4.0]}]}
    assert ask(address, "POST", f"{PATH}:classify", request) == (
        200,
        {"results": [[["low", 3], ["high", 4]], [["low", 4], ["high", 5]]]},
    )
    request = {"signature_name": "regress", "context": {"x": 2.0}, "examples": [{}, {}]}
    assert ask(address, "POST", f"{PATH}/versions/{VERSION}:regress", request) == (
        200,
        {"results": [3, 3]},
    )


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/no:predict", 404, "Servable not found for request: Latest(no)"),
        (
            f"{PATH}/versions/9:predict",
            404,
            f"Servable not found for request: Specific({MODEL}, 9)",
        ),
        (f"{PATH}/labels/no:predict", 400, "Unrecognized servable version label: no"),
    ],
)
def test_unknown_models_versions_and_labels(address, path, status, message):
    found, text = refusal(address, "POST", path, {"instances": [1]})
    assert found == status
    assert message in text


def test_status_of_an_unknown_model(address):
    assert refusal(address, "GET", "/v1/models/no") == (
        404,
        "Could not find any versions of model no",
    )


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", "/v1/foo", "Malformed request: POST /v1/foo"),
        ("POST", "/v1/models", "Malformed request: POST /v1/models"),
        ("GET", f"{PATH}:predict", f"Malformed request: GET {PATH}:predict"),
        (
            "POST",
            f"{PATH}/versions/x:predict",
            f"Malformed request: POST {PATH}/versions/x:predict",
        ),
        ("GET", "/v1/models", "Missing model name in request."),
    ],
)
def test_malformed_urls(address, method, path, message):
    assert refusal(address, method, path) == (400, message)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("", "JSON Parse error"),
        ("x", "JSON Parse error"),
        ({}, "'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, "'inputs' or 'instances' keys"),
        ({"instances": []}, "'instances'"),
        ({"instances": ["x"]}, "float"),
        ({"instances": [[1], [1, 2]]}, "got"),
        (
            {"signature_name": "x", "instances": [1]},
            'Serving signature name: "x" not found in signature def',
        ),
        ({"signature_name": 1, "instances": [1]}, "'signature_name'"),
    ],
)
def test_requests_that_are_wrong(address, request_, message):
    status, text = refusal(address, "POST", f"{PATH}:predict", request_)
    assert status == 400
    assert message in text


def test_what_the_model_refuses_is_the_clients_error(address):
    request = {"signature_name": "numbers", "instances": ["1.5", "no number"]}
    status, message = refusal(address, "POST", f"{PATH}:predict", request)
    assert status == 400
    assert "no number" in message
    assert "Traceback" not in message


def test_many_at_a_time_get_their_own_answers(address):
    def one(n):
        return ask(address, "POST", f"{PATH}:predict", {"instances": [n]})

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(64))) == [
            (200, {"predictions": [n / 2 + 2]}) for n in range(64)
        ]
