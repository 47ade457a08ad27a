"""A backend of numpy functions for the tests of the REST side, and a server of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import any_pb2
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.errors import ServingError
from serving.server.http_thread import HttpThread
from serving.server.rest.rest import RestOptions, rest_application

JSON_DTYPES = (
    types_pb2.DT_BOOL,
    types_pb2.DT_STRING,
    types_pb2.DT_INT8,
    types_pb2.DT_INT16,
    types_pb2.DT_INT32,
    types_pb2.DT_INT64,
    types_pb2.DT_UINT8,
    types_pb2.DT_UINT32,
    types_pb2.DT_UINT64,
    types_pb2.DT_FLOAT,
    types_pb2.DT_DOUBLE,
)
OTHER_DTYPES = (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16, types_pb2.DT_COMPLEX64)
LABELS = {"stable": 1, "canary": 2}
VERSIONS = (1, 2)
CLASS_NAMES = ("tench", "goldfish", "<b>white_shark</b>", "ray", "cock", "hen")


def signature(inputs: dict[str, int], outputs: dict[str, int], method: str = "predict"):
    """A SignatureDef of tensors of unknown shape, given their dtypes."""
    result = SignatureDef(method_name=f"tensorflow/serving/{method}")
    for tensors, dtypes in ((result.inputs, inputs), (result.outputs, outputs)):
        for name, dtype in dtypes.items():
            tensors[name].name = f"{name}:0"
            tensors[name].dtype = dtype
            tensors[name].tensor_shape.unknown_rank = True
    return result


def _half_plus_two(x):
    return {"y": x / 2 + 2}


def _mixed(a, b, s_bytes):
    return {"sum": a + b, "text": s_bytes, "text_bytes": s_bytes}


def _classify_images(image_bytes):
    if any(b"broken" in image for image in image_bytes):
        raise ServingError(
            grpc.StatusCode.INVALID_ARGUMENT, "Unknown image file format. [[{{node Decode}}]]"
        )
    scores = np.array([0.6, 0.2, 0.1, 0.06, 0.04], np.float32)
    batch = len(image_bytes)
    names = np.array([name.encode() for name in CLASS_NAMES[:5]], object)
    return {
        "classes": np.tile(names, (batch, 1)),
        "scores": np.tile(scores, (batch, 1)),
        "probabilities": np.tile(np.append(scores, np.float32(0)), (batch, 1)),
    }


def _fail(code):
    raise ServingError(list(grpc.StatusCode)[int(code.ravel()[0])], "as it was asked to")


def _defect(x):
    raise ZeroDivisionError("a secret of the server's")


class FakeBackend:
    """The `Backend` protocol over one model, "m", in two versions of the same functions.

    Attributes:
      signatures: by their names.
      gate: a call of the signature "wait" lasts until it is set.
      waiting: how many calls of "wait" have begun.
      requests: the PredictRequests that came.
    """

    def __init__(self):
        f, i, s = types_pb2.DT_FLOAT, types_pb2.DT_INT32, types_pb2.DT_STRING
        self.signatures = {
            "serving_default": signature({"x": f}, {"y": f}),
            "mixed": signature({"a": f, "b": i, "s_bytes": s}, {"sum": f}),
            "images": signature({"image_bytes": s}, {"classes": s, "scores": f}),
            "fail": signature({"code": i}, {"y": f}),
            "defect": signature({"x": f}, {"y": f}),
            "wait": signature({"x": f}, {"y": f}),
            "scalar": signature({"x": f}, {"y": f}),
            "batches": signature({"x": f}, {"y": f, "z": f}),
            "half_out": signature({"x": f}, {"y": types_pb2.DT_HALF}),
            "nothing": signature({}, {"y": f}),
        }
        self._functions: dict[str, Callable] = {
            "serving_default": _half_plus_two,
            "mixed": _mixed,
            "images": _classify_images,
            "fail": _fail,
            "defect": _defect,
            "wait": self._wait,
            "scalar": lambda x: {"y": x.sum()},
            "half_out": lambda x: {"y": x.astype(np.float16)},
            "batches": lambda x: {"y": x, "z": x[:1]},
        }
        for dtype in JSON_DTYPES + OTHER_DTYPES:
            name = f"echo_{types_pb2.DataType.Name(dtype)}"
            self.signatures[name] = signature({"x": dtype}, {"x": dtype})
            self._functions[name] = lambda x: {"x": x}
        self.gate = threading.Event()
        self.waiting = 0
        self.requests = []

    def _wait(self, x):
        self.waiting += 1
        self.gate.wait(20)
        return {"y": x}

    def _exact(self, spec: model_pb2.ModelSpec) -> model_pb2.ModelSpec:
        if spec.name != "m":
            raise ServingError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: Latest({spec.name})",
            )
        version = spec.version.value if spec.HasField("version") else max(VERSIONS)
        if spec.HasField("version_label"):
            if spec.version_label not in LABELS:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"Unrecognized servable version label: {spec.version_label}",
                )
            version = LABELS[spec.version_label]
        if version not in VERSIONS:
            raise ServingError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: Specific(m, {version})",
            )
        exact = model_pb2.ModelSpec(name="m", signature_name=spec.signature_name)
        exact.version.value = version
        return exact

    def signature(self, spec):
        exact = self._exact(spec)
        name = spec.signature_name or "serving_default"
        if name not in self.signatures:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f'Serving signature name: "{name}" not found in signature def',
            )
        return exact, self.signatures[name]

    def predict(self, request, timeout_s=None):
        self.requests.append(request)
        exact, found = self.signature(request.model_spec)
        if set(request.inputs) != set(found.inputs):
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, "input size does not match signature"
            )
        function = self._functions[request.model_spec.signature_name or "serving_default"]
        try:
            outputs = function(**{n: tf.make_ndarray(t) for n, t in request.inputs.items()})
        except (ValueError, IndexError, TypeError) as error:  # shapes that do not fit together
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        response = predict_pb2.PredictResponse(model_spec=exact)
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response

    def classify(self, request, timeout_s=None):
        response = classification_pb2.ClassificationResponse()
        for example in _examples(request):
            classes = response.result.classifications.add().classes
            for name, feature in sorted(example.features.feature.items()):
                for value in feature.float_list.value:
                    classes.add(label=name, score=value)
        return response

    def regress(self, request, timeout_s=None):
        response = regression_pb2.RegressionResponse()
        for example in _examples(request):
            values = [v for f in example.features.feature.values() for v in f.float_list.value]
            response.result.regressions.add(value=sum(values))
        return response

    def model_metadata(self, request):
        signatures = get_model_metadata_pb2.SignatureDefMap(
            signature_def={"serving_default": self.signatures["serving_default"]}
        )
        packed = any_pb2.Any()
        packed.Pack(signatures)
        return get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=self._exact(request.model_spec), metadata={"signature_def": packed}
        )

    def model_status(self, request):
        spec = request.model_spec
        spec.ClearField("version_label")  # as TensorFlow Serving ignores it here
        exact = self._exact(spec).version.value
        versions = [exact] if spec.HasField("version") else VERSIONS
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in versions:
            status = response.model_version_status.add(version=version)
            status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
            status.status.SetInParent()
        return response


def _examples(request):
    with_context = request.input.example_list_with_context
    for example in with_context.examples:
        merged = type(example)()
        merged.CopyFrom(example)
        merged.MergeFrom(with_context.context)
        yield merged
    yield from request.input.example_list.examples


def metrics() -> tuple[bytes, str]:
    return b":tensorflow:serving:request_count 1\n", "text/plain"


@contextlib.contextmanager
def rest_server(backend, options: RestOptions) -> Iterator[int]:
    """Serves `backend` on a free port of the loopback interface and yields the port."""
    application = rest_application(backend, metrics, options)
    server = HttpThread(application, "127.0.0.1", 0, drain_seconds=1, max_connections=1024)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def call(port: int, method: str, path: str, body=None, headers=None):
    """(HTTP status, headers, body) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def post(port: int, path: str, body) -> tuple[int, dict]:
    """(HTTP status, parsed reply) of a POST request."""
    status, headers, reply = call(port, "POST", path, body)
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(reply)
