"""One REST call: from the JSON of its body through the backend to the JSON of its reply."""

from __future__ import annotations

from typing import Any

import grpc
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving.server.backend import Backend
from serving.server.errors import ServingError
from serving.server.json_documents import expanded, format_error, invalid, parse_object
from serving.server.json_examples import input_from_json
from serving.server.json_number_arrays import NumberArray
from serving.server.json_replies import (
    classification_reply,
    column_reply,
    metadata_reply,
    regression_reply,
    row_reply,
    status_reply,
)
from serving.server.json_tensors import tensors_from_columns, tensors_from_rows
from serving.server.rest.rest_urls import Target
from serving.signatures import SERVING_DEFAULT

# How often a request may meet a version that was unloaded after its signature was looked up.
_ATTEMPTS = 5


def answer(backend: Backend, target: Target, body: bytes, timeout_s: float | None = None) -> bytes:
    """The JSON reply to a request.

    Args:
      target: what its path says.
      body: JSON; empty for metadata and status.
      timeout_s: seconds that the backend may take for a prediction.

    Raises:
      ServingError: the request is wrong, or the backend refuses it.
    """
    if target.verb == "status":
        return status_reply(backend.model_status(GetModelStatusRequest(model_spec=target.spec)))
    if target.verb == "metadata":
        request = GetModelMetadataRequest(model_spec=target.spec, metadata_field=["signature_def"])
        return metadata_reply(backend.model_metadata(request))
    document = parse_object(body)
    spec = _spec_with_signature(target.spec, document)
    if target.verb == "classify":
        request = ClassificationRequest(model_spec=spec, input=input_from_json(expanded(document)))
        return classification_reply(backend.classify(request, timeout_s).result)
    if target.verb == "regress":
        request = RegressionRequest(model_spec=spec, input=input_from_json(expanded(document)))
        return regression_reply(backend.regress(request, timeout_s).result)
    return _predict(backend, spec, document, timeout_s)


def _spec_with_signature(spec: ModelSpec, document: dict[str, Any]) -> ModelSpec:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise format_error(
            document, "not formatted correctly. 'signature_name' key must be a string value."
        )
    result = ModelSpec(signature_name=name)
    result.MergeFrom(spec)
    return result


def _predict(
    backend: Backend, spec: ModelSpec, document: dict[str, Any], timeout_s: float | None
) -> bytes:
    for attempt in range(_ATTEMPTS):
        exact, signature = _signature(backend, spec)
        request = _predict_request(exact, signature, document)
        try:
            response = backend.predict(request, timeout_s)
            break
        except ServingError as error:
            swapped = error.code == grpc.StatusCode.NOT_FOUND and not spec.HasField("version")
            if not swapped or attempt == _ATTEMPTS - 1:
                raise
    return _predict_reply(response, document)


def _signature(backend: Backend, spec: ModelSpec) -> tuple[ModelSpec, SignatureDef]:
    try:
        return backend.signature(spec)
    except ServingError as error:
        # The only precondition of a signature is that there is one; REST has other words for it.
        if error.code != grpc.StatusCode.FAILED_PRECONDITION:
            raise
        name = spec.signature_name or SERVING_DEFAULT
        raise invalid(f'Serving signature name: "{name}" not found in signature def') from None


def _predict_request(
    spec: ModelSpec, signature: SignatureDef, document: dict[str, Any]
) -> PredictRequest:
    if not signature.inputs:
        name = spec.signature_name or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {name}")
    if "instances" in document and "inputs" in document:
        raise format_error(
            document,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, (list, NumberArray)):
            raise format_error(document, "Expecting 'instances' to be an list/array")
        if instances == []:
            raise format_error(document, "No values in 'instances' array")
        tensors = tensors_from_rows(instances, signature.inputs)
    elif "inputs" in document:
        tensors = tensors_from_columns(document["inputs"], signature.inputs)
    else:
        raise invalid("Missing 'inputs' or 'instances' key")
    return PredictRequest(model_spec=spec, inputs=tensors)


def _predict_reply(response: PredictResponse, document: dict[str, Any]) -> bytes:
    reply = row_reply if "instances" in document else column_reply
    return reply(response.outputs)
