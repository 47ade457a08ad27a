"""Makes JSON bodies of responses from named arrays, results and messages about models.

As in TensorFlow Serving, floats have 6 digits, or 9 if these are needed to read back the same
float32. NaN and Infinity are written as such, which strict JSON parsers refuse.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.server.errors import invalid
from serving.server.json_bodies.arrays import DTYPES

_BYTES_SUFFIX = "_bytes"  # outputs with such names are written in base64
_PIECE = 2**14
_dumps = json.JSONEncoder(ensure_ascii=False).encode


def error_reply(message: str) -> bytes:
    """Makes {"error": message}."""
    return _encode(_dumps({"error": message}))


def prediction_reply(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """Makes {"predictions": [...]} or {"outputs": ...}: the only output, or objects with all.

    Args:
      outputs: outputs by name; strings are object arrays of bytes.
      by_row: whether to write one element per batch entry instead of whole arrays.

    Raises:
      ServingError: INVALID_ARGUMENT, if there are no outputs, JSON cannot represent a dtype, or
        rows are requested but the outputs differ in batch size.
    """
    if not outputs:
        raise invalid("The model has no outputs, which cannot be written as JSON.")
    values = {name: _values(name, array) for name, array in outputs.items()}
    key = "predictions" if by_row else "outputs"
    sizes = {array.shape[:1] for array in outputs.values()}
    if by_row and (len(sizes) > 1 or () in sizes):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        raise invalid(f"The outputs have not one batch size; ask with 'inputs': {shapes}")
    if len(values) == 1:
        (text,) = map(_text, values.values())
    elif by_row:
        ((size,),) = sizes
        rows = ({name: array[n, ...] for name, array in values.items()} for n in range(size))
        text = "[" + ", ".join(map(_object_text, rows)) + "]"
    else:
        text = _object_text(values)
    return _encode(f'{{"{key}": {text}}}')


def classification_reply(result: ClassificationResult) -> bytes:
    """Makes {"results": [[[label, score], ...], ...]}.

    Raises:
      ServingError: INVALID_ARGUMENT, if there are no classifications.
    """
    if not result.classifications:
        raise invalid("There are no classifications to be written as JSON.")
    rows = []
    for classes in (classifications.classes for classifications in result.classifications):
        scores = _doubles(np.array([c.score for c in classes], np.float32)).tolist()
        rows.append([[c.label, score] for c, score in zip(classes, scores, strict=True)])
    return _encode(_dumps({"results": rows}))


def regression_reply(result: RegressionResult) -> bytes:
    """Makes {"results": [value, ...]}.

    Raises:
      ServingError: INVALID_ARGUMENT, if there are no regressions.
    """
    if not result.regressions:
        raise invalid("There are no regressions to be written as JSON.")
    values = np.array([regression.value for regression in result.regressions], np.float32)
    return _encode(_dumps({"results": _doubles(values).tolist()}))


def status_reply(response: GetModelStatusResponse) -> bytes:
    """Makes {"model_version_status": [...]}."""
    return _encode(_dumps(_plain(response)))


def metadata_reply(response: GetModelMetadataResponse) -> bytes:
    """Makes {"model_spec": ..., "metadata": {"signature_def": {"signature_def": {...}}}}."""
    signatures = SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    metadata = {"signature_def": _plain(signatures)}
    return _encode(_dumps({"model_spec": _plain(response.model_spec), "metadata": metadata}))


def _plain(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )


def _values(name: str, array: np.ndarray) -> np.ndarray:
    """Converts an output to an array of types that the JSON encoder accepts."""
    if array.dtype not in DTYPES.values():
        raise invalid(f"Output {name} is {array.dtype.name}, which cannot be written as JSON.")
    if array.dtype == np.float32:
        return _doubles(array)
    if array.dtype != object:
        return array
    if name.endswith(_BYTES_SUFFIX):
        values = ({"b64": base64.b64encode(v).decode()} for v in array.ravel())
    else:
        values = (v.decode("utf-8", "surrogateescape") for v in array.ravel())
    return np.fromiter(values, object, array.size).reshape(array.shape)


def _doubles(array: np.ndarray) -> np.ndarray:
    """Converts float32 to doubles with few digits that read back as the same float32."""
    exact = array.astype(np.float64)
    result = exact.copy()
    with np.errstate(all="ignore"):  # 0, NaN and infinities stay unchanged
        magnitude = np.floor(np.log10(np.abs(exact)))
        for digits in (9, 6):
            power = 10.0 ** (digits - 1 - magnitude)
            rounded = np.rint(exact * power) / power
            np.copyto(result, rounded, where=rounded.astype(np.float32) == array)
    return result


def _text(array: np.ndarray) -> str:
    """Encodes an array as JSON in pieces of some thousand values, so that other threads can run."""
    if array.size <= _PIECE:
        return _dumps(array.tolist())
    if len(array) == 1:
        return f"[{_text(array[0])}]"
    pieces = np.array_split(array, min(len(array), array.size // _PIECE + 1))
    return "[" + ", ".join(_text(piece)[1:-1] for piece in pieces) + "]"


def _object_text(arrays: Mapping[str, np.ndarray]) -> str:
    return "{" + ", ".join(f"{_dumps(name)}: {_text(a)}" for name, a in arrays.items()) + "}"


def _encode(text: str) -> bytes:
    # Strings that are not UTF-8 are sent as their original bytes.
    return text.encode("utf-8", "surrogateescape")
