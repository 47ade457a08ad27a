"""Servers that speak TensorFlow Serving's protocols and misbehave as told, for tests of clients.

They serve no model: a picture's name is its length in bytes. The gRPC one speaks with the official
classes, so that the client's own are tested against them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from aiohttp import web
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

MODEL = "fake"
SCORES = (0.75, 0.25)


class Fail:
    """An outcome: the request fails with a gRPC status name, or an HTTP status, and a message."""

    def __init__(self, code, message="as told", headers=None):
        self.code, self.message, self.headers = code, message, headers or {}


class Fake:
    """What both servers share.

    Attributes:
      address: for the client.
      script: what the next requests meet, before the ordinary answer: a `Fail`, seconds to wait,
        or a function that makes another answer; None is the ordinary answer.
      always: what requests meet that the script has nothing for.
      requests: what has arrived: model specs as (name, version, label, signature), with the inputs
        of a Predict as a dict of arrays or JSON.
    """

    def __init__(self):
        self.address = None
        self.script = deque()
        self.always = None
        self.requests = []
        self._lock = threading.Lock()

    def next_outcome(self, *request):
        with self._lock:
            self.requests.append(request)
            return self.script.popleft() if self.script else self.always

    def fresh(self):
        """This fake, with all of the above as at the beginning."""
        self.script.clear()
        self.requests.clear()
        self.always = None
        return self

    @property
    def pictures(self):
        """Contents of all pictures that have arrived."""
        return [picture for request in self.requests for picture in request[1]]


class GrpcFake(
    Fake,
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Predict, GetModelMetadata and GetModelStatus over gRPC."""

    def Predict(self, request, context):  # noqa: N802, gRPC's name
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        outcome = self._meet(context, request, inputs.get("image_bytes", ()))
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        if callable(outcome):
            outputs = outcome(inputs)
        elif "image_bytes" in inputs:
            outputs = classified(inputs["image_bytes"])
            outputs = {name: outputs[name] for name in request.output_filter or outputs}
        else:
            outputs = inputs
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response

    def GetModelStatus(self, request, context):  # noqa: N802, gRPC's name
        self._meet(context, request)
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=3, state=30)
        if not request.model_spec.HasField("version"):  # labels are ignored, as by TF Serving
            old = response.model_version_status.add(version=2, state=50)
            old.status.error_code, old.status.error_message = 5, "gone"
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802, gRPC's name
        assert request.metadata_field == ["signature_def"]
        self._meet(context, request)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.model_spec.version.value = 3
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signature = signatures.signature_def["twice"]
        signature.method_name = "tensorflow/serving/predict"
        signature.inputs["x"].dtype = tf.uint8.as_datatype_enum
        signature.inputs["x"].tensor_shape.dim.add(size=-1)
        signature.inputs["x"].tensor_shape.dim.add(size=2)
        signature.outputs["y"].dtype = tf.float16.as_datatype_enum
        signature.outputs["y"].tensor_shape.unknown_rank = True
        response.metadata["signature_def"].Pack(signatures)
        return response

    def _meet(self, context, request, pictures=()):
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        asked = (spec.name, version, spec.version_label or None, spec.signature_name)
        outcome = self.next_outcome(asked, list(pictures))
        if isinstance(outcome, Fail):
            context.abort(grpc.StatusCode[outcome.code], outcome.message)
        if isinstance(outcome, float):
            time.sleep(outcome)
        return outcome


class RestFake(Fake):
    """The same over HTTP."""

    async def predict(self, request):
        content = await request.json()
        inputs = content["inputs"]
        pictures = [base64.b64decode(one["b64"]) for one in inputs.get("image_bytes", ())]
        outcome = await self._meet(request, pictures, content["signature_name"])
        if isinstance(outcome, web.Response):
            return outcome
        if callable(outcome):
            outputs = outcome(inputs)
        elif pictures:
            outputs = {
                name: [[n.decode() if isinstance(n, bytes) else n for n in row] for row in rows]
                for name, rows in (
                    (name, array.tolist()) for name, array in classified(pictures).items()
                )
            }
        else:
            outputs = inputs
        return web.json_response({"outputs": outputs})

    async def status(self, request):
        outcome = await self._meet(request)
        rows = [("3", "AVAILABLE", "OK", ""), ("2", "END", "NOT_FOUND", "gone")]
        rows = rows[:1] if "version" in request.match_info else rows
        found = [
            {"version": v, "state": s, "status": {"error_code": c, "error_message": m}}
            for v, s, c, m in rows
        ]
        return outcome or web.json_response({"model_version_status": found})

    async def metadata(self, request):
        outcome = await self._meet(request)
        if isinstance(outcome, web.Response):
            return outcome
        dims = [{"size": "-1", "name": ""}, {"size": "2", "name": ""}]
        x = {"dtype": "DT_UINT8", "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": ""}
        y = {"dtype": "DT_HALF", "tensor_shape": {"dim": [], "unknown_rank": True}, "name": ""}
        predict = "tensorflow/serving/predict"
        twice = {"inputs": {"x": x}, "outputs": {"y": y}, "method_name": predict}
        spec = {"name": MODEL, "signature_name": "", "version": "3"}
        signatures = {"signature_def": {"signature_def": {"twice": twice}}}
        return web.json_response({"model_spec": spec, "metadata": signatures})

    async def _meet(self, request, pictures=(), signature=""):
        part = request.match_info
        version = part.get("version")
        asked = (part["model"], version and int(version), part.get("label"), signature)
        outcome = self.next_outcome(asked, list(pictures))
        if isinstance(outcome, Fail):
            if outcome.code == "CLOSE":
                request.transport.abort()
            status, headers = HTTP.get(outcome.code, outcome.code), outcome.headers
            return web.json_response({"error": outcome.message}, status=status, headers=headers)
        if isinstance(outcome, float):
            await asyncio.sleep(outcome)
            return None
        return outcome

    def application(self):
        app = web.Application(client_max_size=2**30)
        for of in ("", "/versions/{version}", "/labels/{label}"):
            path = "/v1/models/{model}" + of
            app.router.add_get(path, self.status)
            app.router.add_get(path + "/metadata", self.metadata)
            app.router.add_post(path + ":predict", self.predict)
        return app


HTTP = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 413,
    "UNAVAILABLE": 503,
    "CLOSE": 500,
}


def classified(pictures):
    """The fake's classes and scores of pictures, and probabilities that no client asks for."""
    names = [[str(len(picture)).encode(), b"other"] for picture in pictures]
    return {
        "classes": np.array(names, object).reshape(len(names), 2),
        "scores": np.tile(np.float32(SCORES), (len(names), 1)),
        "probabilities": np.zeros((len(names), 1000), np.float32),
    }


@contextlib.contextmanager
def grpc_fake(port=0, credentials=None) -> Iterator[GrpcFake]:
    """A running `GrpcFake`."""
    fake = GrpcFake()
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(64), options=limits)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(fake, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(fake, server)
    if credentials is None:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    fake.address = f"localhost:{port}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(0).wait()


@contextlib.contextmanager
def rest_fake(port=0, ssl_context=None) -> Iterator[RestFake]:
    """A running `RestFake`."""
    fake = RestFake()
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()

    async def run():
        runner = web.AppRunner(fake.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=ssl_context)
        await site.start()
        scheme = "http" if ssl_context is None else "https"
        fake.address = f"{scheme}://localhost:{runner.addresses[0][1]}"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
