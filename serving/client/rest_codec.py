"""Encodes the client's calls as paths and JSON of TensorFlow Serving's REST API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from serving import signatures
from serving.client.calls import Call, Target, output, predictions, with_exits
from serving.client.errors import ReplyError
from serving.client.results import Metadata, Prediction, Signature, TensorSpec, VersionStatus
from serving.client.tensors import encode, from_json, to_json
from serving.status_codes import HTTP

# From HTTP status to the most likely name. Proxies return more of them than TensorFlow Serving
# does.
_CODES = {status: code.name for code, status in HTTP.items()} | {
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
}
# Statuses that mean "not now": 502 comes from a proxy that cannot reach its server.
RETRYABLE = frozenset({429, 502, 503})
_CLASS_OUTPUTS = (signatures.CLASSES, signatures.SCORES)
_LONGEST_QUOTE = 200  # characters of a response in a message


class RestCodec:
    """A `calls.Codec` for REST."""

    def classify(self, target: Target, pictures: Sequence[bytes]) -> Call[list[list[Prediction]]]:
        body = picture_request(pictures)

        def parse(reply: bytes) -> list[list[Prediction]]:
            outputs = _parsed(reply, "outputs")
            if not isinstance(outputs, dict):
                raise ReplyError(f"expected the outputs {', '.join(_CLASS_OUTPUTS)}")
            classes, scores = (from_json(output(outputs, n), n, None) for n in _CLASS_OUTPUTS)
            return predictions(classes, scores, len(pictures))

        return Call(predict_path(target), body, parse)

    def classify_with_exits(
        self, target: Target, pictures: Sequence[bytes]
    ) -> Call[list[tuple[list[Prediction], int | None]]]:
        plain = self.classify(target, pictures)

        def parse(reply: bytes) -> list[tuple[list[Prediction], int | None]]:
            return with_exits(plain.parse(reply), exits_in(reply))

        return Call(plain.path, plain.body, parse)

    def predict(
        self,
        target: Target,
        inputs: Mapping[str, np.ndarray],
        signature_name: str,
        output_filter: Sequence[str],
        metadata: Metadata | None,
    ) -> Call[dict[str, np.ndarray]]:
        values = {name: to_json(array, name) for name, array in inputs.items()}
        signature = metadata.signatures.get(signature_name) if metadata else None
        specs = signature.outputs if signature else {}

        def parse(reply: bytes) -> dict[str, np.ndarray]:
            outputs = _parsed(reply, "outputs")
            if not isinstance(outputs, dict):  # a single output comes without its name
                if len(specs) != 1:
                    raise ReplyError("the one output came without its name")
                outputs = {next(iter(specs)): outputs}
            names = output_filter or outputs
            return {n: from_json(output(outputs, n), n, specs.get(n)) for n in names}

        body = {"signature_name": signature_name, "inputs": values}
        return Call(predict_path(target), json.dumps(body).encode(), parse)

    def model_status(self, target: Target) -> Call[list[VersionStatus]]:
        def parse(reply: bytes) -> list[VersionStatus]:
            found = _parsed(reply, "model_version_status")
            try:
                return [
                    VersionStatus(
                        int(one["version"]),
                        one["state"],
                        one["status"]["error_code"],
                        one["status"]["error_message"],
                    )
                    for one in found
                ]
            except (KeyError, TypeError, ValueError) as error:
                raise ReplyError(f"the status is no status: {_quoted(reply)}") from error

        return Call(_path(target), None, parse)

    def metadata(self, target: Target) -> Call[Metadata]:
        def parse(reply: bytes) -> Metadata:
            found = _parsed(reply, "metadata")
            spec = _parsed(reply, "model_spec")
            try:
                return Metadata(
                    spec["name"],
                    int(spec["version"]),
                    {
                        name: Signature(
                            _specs(one["inputs"]), _specs(one["outputs"]), one["method_name"]
                        )
                        for name, one in found["signature_def"]["signature_def"].items()
                    },
                )
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ReplyError(f"the metadata are no metadata: {_quoted(reply)}") from error

        return Call(f"{_path(target)}/metadata", None, parse)


def exits_in(reply: bytes) -> list[int]:
    """Returns the exit used for each picture, like `grpc_codec.exits_in`."""
    outputs = _parsed(reply, "outputs")
    return list(outputs.get(signatures.EXIT, [])) if isinstance(outputs, dict) else []


def predict_path(target: Target) -> str:
    """Returns the path of a Predict call."""
    return f"{_path(target)}:predict"


def picture_request(
    pictures: Sequence[bytes],
    *,
    signature_name: str = signatures.SERVING_DEFAULT,
    input_name: str = signatures.IMAGE_BYTES,
) -> bytes:
    """Makes the JSON of a Predict call with one input, string (batch,): contents of files."""
    inputs = {input_name: [encode(picture) for picture in pictures]}
    return json.dumps({"signature_name": signature_name, "inputs": inputs}).encode()


def code_of(status: int) -> str:
    """Returns gRPC's name for an HTTP status."""
    return _CODES.get(status, "UNKNOWN")


def error_message(status: int, reply: bytes) -> str:
    """Returns TensorFlow Serving's error message, or the beginning of another response."""
    try:
        message = json.loads(reply)["error"]
        if isinstance(message, str) and message:
            return message
    except (ValueError, KeyError, TypeError):
        pass
    return f"HTTP status {status}: {_quoted(reply)}"


def _path(target: Target) -> str:
    path = f"/v1/models/{quote(target.model, safe='')}"
    if target.version is not None:
        path += f"/versions/{target.version}"
    if target.label is not None:
        path += f"/labels/{quote(target.label, safe='')}"
    return path


def _parsed(reply: bytes, key: str) -> Any:
    try:
        content = json.loads(reply)
    except ValueError as error:
        raise ReplyError(f"the answer is no JSON: {_quoted(reply)}") from error
    if not isinstance(content, dict) or key not in content:
        raise ReplyError(f"the answer lacks {key}: {_quoted(reply)}")
    return content[key]


def _quoted(reply: bytes) -> str:
    text = reply[:_LONGEST_QUOTE].decode("utf-8", "replace")
    return repr(text + ("..." if len(reply) > _LONGEST_QUOTE else ""))


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _tensor_spec(info) for name, info in tensors.items()}


def _tensor_spec(info: Mapping[str, Any]) -> TensorSpec:
    shape = info["tensor_shape"]
    dtype = info["dtype"].removeprefix("DT_").lower()
    if shape.get("unknown_rank"):
        return TensorSpec(dtype, None)
    sizes = (int(dim["size"]) for dim in shape.get("dim", ()))
    return TensorSpec(dtype, tuple(None if size < 0 else size for size in sizes))
