"""Encodes the client's calls as messages of TensorFlow Serving's gRPC services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serving import signatures
from serving.client import messages
from serving.client.calls import Call, Target, output, predictions, with_exits
from serving.client.errors import ReplyError
from serving.client.results import Metadata, Prediction, Signature, TensorSpec, VersionStatus
from serving.client.tensors import from_proto, tensor_spec, to_proto
from serving.status_codes import Code

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


class GrpcCodec:
    """A `calls.Codec` for gRPC."""

    def classify(self, target: Target, pictures: Sequence[bytes]) -> Call[list[list[Prediction]]]:
        outputs = (signatures.CLASSES, signatures.SCORES)
        body = picture_request(target, pictures, output_filter=outputs)

        def parse(reply: bytes) -> list[list[Prediction]]:
            arrays = _outputs(reply)
            classes, scores = (output(arrays, name) for name in outputs)
            return predictions(classes, scores, len(pictures))

        return Call(PREDICT, body, parse)

    def classify_with_exits(
        self, target: Target, pictures: Sequence[bytes]
    ) -> Call[list[tuple[list[Prediction], int | None]]]:
        plain = self.classify(target, pictures)
        body = picture_request(target, pictures)  # no filter, which would have to name the exits

        def parse(reply: bytes) -> list[tuple[list[Prediction], int | None]]:
            return with_exits(plain.parse(reply), exits_in(reply))

        return Call(PREDICT, body, parse)

    def predict(
        self,
        target: Target,
        inputs: Mapping[str, np.ndarray],
        signature_name: str,
        output_filter: Sequence[str],
        metadata: Metadata | None,
    ) -> Call[dict[str, np.ndarray]]:
        del metadata  # the messages contain all types and names
        request = messages.PredictRequest(
            model_spec=_spec(target, signature_name), output_filter=output_filter
        )
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array))
        return Call(PREDICT, request.SerializeToString(), _outputs)

    def model_status(self, target: Target) -> Call[list[VersionStatus]]:
        request = messages.GetModelStatusRequest(model_spec=_spec(target))

        def parse(reply: bytes) -> list[VersionStatus]:
            found = _parsed(messages.GetModelStatusResponse, reply).model_version_status
            return [
                VersionStatus(
                    one.version,
                    messages.STATES.get(one.state, "UNKNOWN"),
                    _code(one.status.error_code),
                    one.status.error_message,
                )
                for one in found
            ]

        return Call(GET_MODEL_STATUS, request.SerializeToString(), parse)

    def metadata(self, target: Target) -> Call[Metadata]:
        request = messages.GetModelMetadataRequest(
            model_spec=_spec(target), metadata_field=["signature_def"]
        )

        def parse(reply: bytes) -> Metadata:
            response = _parsed(messages.GetModelMetadataResponse, reply)
            if "signature_def" not in response.metadata:
                raise ReplyError("the answer lacks signature_def")
            packed = response.metadata["signature_def"].value
            found = _parsed(messages.SignatureDefMap, packed).signature_def
            spec = response.model_spec
            return Metadata(
                spec.name,
                spec.version.value,
                {
                    name: Signature(_specs(one.inputs), _specs(one.outputs), one.method_name)
                    for name, one in found.items()
                },
            )

        return Call(GET_MODEL_METADATA, request.SerializeToString(), parse)


def picture_request(
    target: Target,
    pictures: Sequence[bytes],
    *,
    signature_name: str = signatures.SERVING_DEFAULT,
    input_name: str = signatures.IMAGE_BYTES,
    output_filter: Sequence[str] = (),
) -> bytes:
    """Makes the message of a Predict call with contents of files as its only input.

    Args:
      target: the model to call.
      pictures: a batch of contents.
      signature_name: name of the signature.
      input_name: name of its input, string (batch,).
      output_filter: names of the outputs to return; all by default.
    """
    request = messages.PredictRequest(
        model_spec=_spec(target, signature_name), output_filter=output_filter
    )
    strings = np.fromiter(pictures, object, len(pictures))
    request.inputs[input_name].CopyFrom(to_proto(strings))
    return request.SerializeToString()


def exits_in(reply: bytes) -> list[int]:
    """Returns the exit used for each picture of a Predict call; [] for a model without exits."""
    found = _outputs(reply).get(signatures.EXIT)
    return [] if found is None else found.ravel().tolist()


def _spec(target: Target, signature_name: str = "") -> Any:
    spec = messages.ModelSpec(name=target.model, signature_name=signature_name)
    if target.version is not None:
        spec.version.value = target.version
    if target.label is not None:
        spec.version_label = target.label
    return spec


def _parsed(kind: type, reply: bytes) -> Any:
    try:
        return kind.FromString(reply)
    except DecodeError as error:
        raise ReplyError(f"the answer is damaged: {error}") from error


def _outputs(reply: bytes) -> dict[str, np.ndarray]:
    found = _parsed(messages.PredictResponse, reply).outputs
    return {name: from_proto(tensor, name) for name, tensor in found.items()}


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _tensor_spec(info) for name, info in tensors.items()}


def _tensor_spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
    return tensor_spec(info.dtype, sizes)


def _code(number: int) -> str:
    return Code(number).name if number in list(Code) else f"code {number}"
