"""The REST API of the stand-in answers as TensorFlow Serving's does."""

import json

import grpc
import pytest

from serving.server.errors import ServingError
from serving.server.rest.rest import RestOptions
from tests.support.serving.serving_rest_cases import FakeBackend, call, post, rest_server


@pytest.fixture(scope="module")
def backend():
    return FakeBackend()


@pytest.fixture(scope="module")
def port(backend):
    with rest_server(backend, RestOptions(threads=4)) as port:
        yield port


def error(port, method, path, body=None):
    status, headers, reply = call(port, method, path, body)
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(reply)["error"]


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/v1/models/m:predict", 2),
        ("/v1/models/m/versions/1:predict", 1),
        ("/v1/models/m/versions/0002:predict", 2),
        ("/v1/models/m/labels/stable:predict", 1),
        ("/v1/models/%6d/labels/st%61ble:predict", 1),
        ("/V1/Models/m/Versions/1:predict", 1),
    ],
)
def test_predict_reaches_the_version_that_the_path_names(port, backend, path, version):
    assert post(port, path, {"instances": [1, 2]}) == (200, {"predictions": [2.5, 3.0]})
    assert backend.requests[-1].model_spec.version.value == version


def test_rows_are_answered_by_predictions_and_columns_by_outputs(port):
    path = "/v1/models/m:predict"
    assert post(port, path, {"instances": [[1.0, 2.0]]}) == (200, {"predictions": [[2.5, 3.0]]})
    assert post(port, path, {"inputs": [[1.0, 2.0]]}) == (200, {"outputs": [[2.5, 3.0]]})
    assert post(port, path, {"inputs": {"x": 4}}) == (200, {"outputs": 4.0})


def test_several_inputs_are_objects_and_only_names_ending_in_bytes_are_base64(port):
    row = {"a": 1.5, "b": 2, "s_bytes": {"b64": "aGk="}}
    expected = {"sum": 3.5, "text": "hi", "text_bytes": {"b64": "aGk="}}
    request = {"signature_name": "mixed", "instances": [row, row]}
    assert post(port, "/v1/models/m:predict", request) == (200, {"predictions": [expected] * 2})
    columns = {name: [value, value] for name, value in row.items()}
    request = {"signature_name": "mixed", "inputs": columns | {"extra": None}}
    assert post(port, "/v1/models/m:predict", request) == (
        200,
        {"outputs": {name: [value, value] for name, value in expected.items()}},
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/foo"),
        ("POST", "/v1/foo"),
        ("POST", "/v1/models"),
        ("POST", "/v1/models/m/metadata"),
        ("GET", "/v1/models/m:predict"),
        ("POST", "/v1/models/m:PREDICT"),
        ("GET", "/v1/models/debug/m"),
        ("POST", "/v1/models/m/version/1:regress"),
        ("POST", "/v1/models/m/versions/one:regress"),
        ("POST", "/v1/models/m/versions/1/labels/stable:regress"),
        ("POST", "/v1/models/m/label/stable:predict"),
        ("POST", "/v1/models/../m:predict"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("DELETE", "/v1/models/m"),
        ("PUT", "/v1/models/m:predict"),
    ],
)
def test_malformed_paths_are_refused_in_the_servers_words(port, method, path):
    assert error(port, method, path) == (400, f"Malformed request: {method} {path}")


def test_a_missing_model_name_is_named(port):
    assert error(port, "GET", "/v1/models") == (400, "Missing model name in request.")


def test_versions_beyond_64_bits_are_refused(port):
    for version in ("18446744073709551615", "9" * 5000):
        status, message = error(port, "POST", f"/v1/models/m/versions/{version}:predict", "{}")
        assert status == 400
        assert message.startswith("Failed to convert version: ")


def test_what_is_not_the_api_is_not_found(port):
    for path in ("/statuspage", "/v2/models/m", "//etc/passwd", "/..%2f..%2fetc/passwd"):
        assert error(port, "GET", path)[0] == 404


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/v1/models/foo:predict", 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/m/versions/9:predict", 404, "Servable not found for request: Specific(m, 9)"),
        ("/v1/models/m/labels/no:predict", 400, "Unrecognized servable version label: no"),
        ("/v1/models/%2e%2e%2fm:predict", 404, "Servable not found for request: Latest(../m)"),
        ("/v1/models/%ff:predict", 400, "Failed to decode model name:%ff"),
    ],
)
def test_unknown_models_versions_and_labels(port, path, code, message):
    assert error(port, "POST", path, {"instances": [1]}) == (code, message)


def test_the_body_is_parsed_before_the_model_is_looked_up(port):
    status, message = error(port, "POST", "/v1/models/foo:predict", "")
    assert status == 400
    assert message.startswith("JSON Parse error")


def test_an_unknown_signature_is_named(port):
    request = {"signature_name": "x", "instances": [1]}
    assert error(port, "POST", "/v1/models/m:predict", request) == (
        400,
        'Serving signature name: "x" not found in signature def',
    )


HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
}


@pytest.mark.parametrize("name", HTTP_STATUS)
def test_statuses_of_the_backend_become_http_statuses(port, name):
    code = list(grpc.StatusCode).index(grpc.StatusCode[name])
    request = {"signature_name": "fail", "inputs": code}
    assert error(port, "POST", "/v1/models/m:predict", request) == (
        HTTP_STATUS[name],
        "as it was asked to",
    )


def test_a_defect_is_logged_and_not_shown(port, caplog):
    request = {"signature_name": "defect", "instances": [1]}
    status, message = error(port, "POST", "/v1/models/m:predict", request)
    assert status == 500
    assert "secret" not in message
    assert "a secret of the server's" in caplog.text


def test_status_of_all_versions_or_one(port):
    def status(version):
        return {
            "version": str(version),
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }

    for path, versions in (("", [1, 2]), ("/versions/1", [1]), ("/labels/canary", [1, 2])):
        code, headers, reply = call(port, "GET", f"/v1/models/m{path}")
        assert (code, headers["Content-Type"]) == (200, "application/json")
        assert json.loads(reply) == {"model_version_status": [status(v) for v in versions]}
    assert error(port, "GET", "/v1/models/foo")[0] == 404


def test_metadata_is_the_signature_map_with_every_field(port):
    code, _, reply = call(port, "GET", "/v1/models/m/versions/1/metadata")
    document = json.loads(reply)
    assert code == 200
    assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "1"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [], "unknown_rank": True},
        "name": "x:0",
    }
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"


def test_dtypes_without_json_are_501_in_and_400_out(port):
    request = {"signature_name": "echo_DT_HALF", "inputs": [1]}
    status, message = error(port, "POST", "/v1/models/m:predict", request)
    assert status == 501
    assert message.startswith("x: JSON has no form for the type half")
    request = {"signature_name": "half_out", "inputs": [1]}
    status, message = error(port, "POST", "/v1/models/m:predict", request)
    assert status == 400
    assert "y is float16" in message


def test_requests_without_tensors_are_refused(port):
    def refusal(**request):
        status, message = error(port, "POST", "/v1/models/m:predict", request)
        assert status == 400
        return message

    assert "exactly one of the 'inputs' or 'instances' keys" in refusal()
    assert "exactly one of the 'inputs' or 'instances' keys" in refusal(instances=[1], inputs=[1])
    assert refusal(instances=[]).startswith("'instances' must be an array of at least one value")
    assert refusal(instances=1).startswith("'instances' must be an array of at least one value")
    assert "'signature_name'" in refusal(signature_name=1, inputs=[1])
    assert refusal(signature_name="nothing", inputs=[1]).endswith("for signature: nothing")


def test_classify_and_regress_take_examples_with_context(port):
    request = {"context": {"c": 0.5}, "examples": [{"x": 1.0}, {"x": [2.0, 3.0]}]}
    assert post(port, "/v1/models/m:classify", request) == (
        200,
        {"results": [[["c", 0.5], ["x", 1.0]], [["c", 0.5], ["x", 2.0], ["x", 3.0]]]},
    )
    assert post(port, "/v1/models/m/versions/1:regress", request) == (
        200,
        {"results": [1.5, 5.5]},
    )


def test_metrics_are_at_the_default_path(port):
    status, headers, body = call(port, "GET", "/monitoring/prometheus/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain")
    assert b":tensorflow:serving:request_count" in body


def test_other_origins_are_not_let_in(port):
    status, headers, _ = call(
        port, "OPTIONS", "/v1/models/m:predict", headers={"Origin": "http://x"}
    )
    assert status == 200
    assert "Access-Control-Allow-Origin" not in headers
    assert call(port, "OPTIONS", "/v1/models/m:predict")[0] == 400


def test_a_version_that_is_unloaded_after_its_signature_was_read_is_replaced():
    class SwappingBackend(FakeBackend):
        swaps = 0

        def predict(self, request, timeout_s=None):
            if self.swaps < 3:
                self.swaps += 1
                raise ServingError(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
            return super().predict(request, timeout_s)

    with rest_server(SwappingBackend(), RestOptions(threads=1)) as other:
        assert post(other, "/v1/models/m:predict", {"instances": [1]})[0] == 200
    with rest_server(SwappingBackend(), RestOptions(threads=1)) as other:
        assert post(other, "/v1/models/m/versions/1:predict", {"instances": [1]})[0] == 404
