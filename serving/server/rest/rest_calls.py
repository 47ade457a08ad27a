"""A REST call: from the JSON of its body, through the backend, to the JSON of its response."""

from __future__ import annotations

from typing import Any

import grpc
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving.server.backend import Backend
from serving.server.errors import ServingError, invalid
from serving.server.json_bodies.replies import (
    classification_reply,
    metadata_reply,
    prediction_reply,
    regression_reply,
    status_reply,
)
from serving.server.json_bodies.requests import examples, named_arrays, parse_object
from serving.server.rest.rest_urls import Target

# Number of attempts, since a version may be unloaded after its signature was looked up.
_ATTEMPTS = 5


def answer(backend: Backend, target: Target, body: bytes, timeout_s: float | None = None) -> bytes:
    """Handles a request, and returns its JSON response.

    Args:
      target: the target in the path of the request.
      body: JSON; empty for metadata and status.
      timeout_s: time limit of a prediction in the backend, seconds.

    Raises:
      ServingError: the request is invalid, or the backend refuses it.
    """
    if target.verb == "status":
        return status_reply(backend.model_status(GetModelStatusRequest(model_spec=target.spec)))
    if target.verb == "metadata":
        request = GetModelMetadataRequest(model_spec=target.spec, metadata_field=["signature_def"])
        return metadata_reply(backend.model_metadata(request))
    document = parse_object(body)
    spec = _spec_with_signature(target.spec, document)
    if target.verb == "classify":
        request = ClassificationRequest(model_spec=spec, input=examples(document))
        return classification_reply(backend.classify(request, timeout_s).result)
    if target.verb == "regress":
        request = RegressionRequest(model_spec=spec, input=examples(document))
        return regression_reply(backend.regress(request, timeout_s).result)
    return _predict(backend, spec, document, timeout_s)


def _spec_with_signature(spec: ModelSpec, document: dict[str, Any]) -> ModelSpec:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    result = ModelSpec(signature_name=name)
    result.MergeFrom(spec)
    return result


def _predict(
    backend: Backend, spec: ModelSpec, document: dict[str, Any], timeout_s: float | None
) -> bytes:
    for attempt in range(_ATTEMPTS):
        exact, signature = backend.signature(spec)
        request = _predict_request(exact, signature, document)
        try:
            response = backend.predict(request, timeout_s)
            break
        except ServingError as error:
            swapped = error.code == grpc.StatusCode.NOT_FOUND and not spec.HasField("version")
            if not swapped or attempt == _ATTEMPTS - 1:
                raise
    outputs = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
    return prediction_reply(outputs, by_row="instances" in document)


def _predict_request(
    spec: ModelSpec, signature: SignatureDef, document: dict[str, Any]
) -> PredictRequest:
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {spec.signature_name or 'DEFAULT'}")
    tensors = {
        name: tf.make_tensor_proto(array, signature.inputs[name].dtype)
        for name, array in named_arrays(document, signature.inputs).items()
    }
    return PredictRequest(model_spec=spec, inputs=tensors)
