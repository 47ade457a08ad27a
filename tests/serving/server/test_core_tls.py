"""TLS, health, sockets and the forms of answers."""

import shutil
import subprocess

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.serving.serving_cases import classify_request, predict_request, refusal, serve

X = {"x": np.float32([2, 4])}


# gRPC beside the services


def test_health_is_told():
    with serve() as target:
        stub = health_pb2_grpc.HealthStub(target.channel)
        for service in ("", "PredictionService", "ModelService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(request, timeout=20).status == health_pb2.HealthCheckResponse.SERVING


def test_answers_can_be_tensor_content():
    with serve(enable_serialization_as_tensor_content=True) as target:
        tensor = target.predict(X).outputs["y"]
        assert tensor.tensor_content == np.float32([3, 4]).tobytes()
        assert not tensor.float_val


def test_the_method_name_can_be_checked():
    with serve(enable_signature_method_name_check=True) as target:
        assert target.predictions.Classify(classify_request(), 20).result.classifications
        code, message = refusal(target.predictions.Classify, classify_request("regress"), 20)
        assert code == StatusCode.INVALID_ARGUMENT
        assert message.endswith("Was: tensorflow/serving/regress")


def test_a_unix_socket_is_served(tmp_path):
    path = f"{tmp_path}/socket"
    with serve(grpc_socket_path=path), grpc.insecure_channel(f"unix:{path}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        assert call(predict_request(X).SerializeToString(), timeout=20)


# TLS


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """An authority, and keys that it signed for the server and for a client: name -> PEM."""
    if shutil.which("openssl") is None:
        pytest.skip("keys are made by the command openssl, which is not here")
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "client"):
        request = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("req", *new_key, *request)
        signed = ("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", "names")
        openssl("x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", *signed)
    return {path.name: path.read_text() for path in folder.iterdir()}


def ssl_config(path, keys, extra=""):
    path.write_text(
        f"server_key: {keys['server.key']!r} server_cert: {keys['server.pem']!r} {extra}"
    )
    return str(path)


def ask_securely(target, **keys):
    port = target.grpc.rpartition(":")[2]
    credentials = grpc.ssl_channel_credentials(**{k: v.encode() for k, v in keys.items()})
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        return call(predict_request(X).SerializeToString(), timeout=10)


def test_tls_is_served_and_nothing_else(tmp_path, keys):
    with serve(ssl_config_file=ssl_config(tmp_path / "ssl.txt", keys)) as target:
        assert ask_securely(target, root_certificates=keys["ca.pem"])
        assert refusal(lambda: target.predict(X, timeout=3))[0] in (
            StatusCode.UNAVAILABLE,
            StatusCode.DEADLINE_EXCEEDED,
        )


def test_clients_can_be_asked_for_certificates(tmp_path, keys):
    extra = f"custom_ca: {keys['ca.pem']!r} client_verify: true"
    with serve(ssl_config_file=ssl_config(tmp_path / "ssl.txt", keys, extra)) as target:
        client = {"private_key": keys["client.key"], "certificate_chain": keys["client.pem"]}
        assert ask_securely(target, root_certificates=keys["ca.pem"], **client)
        with pytest.raises(grpc.RpcError):
            ask_securely(target, root_certificates=keys["ca.pem"])
