"""Replies as the JSON that TensorFlow Serving writes.

Numbers have six significant digits where these are enough to read the same value back, else 9 (17
for double), and always look like what they are: a float has a point or an exponent. NaN and
Infinity are written as such, which strict JSON parsers refuse.
"""

from __future__ import annotations

import base64
import json.encoder
import math
from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf import json_format
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.server.json_documents import invalid
from serving.server.json_values import KINDS, dtype_name

_BYTES_SUFFIX = "_bytes"
_PIECE = 2**14


def error_reply(message: str) -> bytes:
    return _encode(f'{{\n    "error": {_quoted(message)}\n}}')


def row_reply(outputs: Mapping[str, TensorProto]) -> bytes:
    """{"predictions": [...]}: the value of the only output, or an object with one for each.

    Raises:
      ServingError: INVALID_ARGUMENT, if the outputs have not one batch size, or a dtype without a
        form in JSON.
    """
    _check_not_empty(outputs)
    rows: dict[str, list[str]] = {}
    size = None
    for name, tensor in outputs.items():
        if not tensor.tensor_shape.dim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        batch = tensor.tensor_shape.dim[0].size
        if size is not None and batch != size:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {batch} expecting: {size}"
            )
        size = batch
        rows[name] = _texts(name, tensor, 1)
    if len(rows) == 1:
        (texts,) = rows.values()
        separator = ", "
    else:
        separator = ",\n        "
        keys = [_quoted(name) + ": " for name in rows]
        texts = [
            "{" + ", ".join(map(str.__add__, keys, values)) + "}"
            for values in zip(*rows.values(), strict=True)
        ]
    return _encode('{\n    "predictions": [' + separator.join(texts) + "]\n}")


def column_reply(outputs: Mapping[str, TensorProto]) -> bytes:
    """{"outputs": ...}: the whole of the only output, or an object with one for each.

    Raises:
      ServingError: INVALID_ARGUMENT, if a dtype has no form in JSON.
    """
    _check_not_empty(outputs)
    texts = {name: _texts(name, tensor, 0)[0] for name, tensor in outputs.items()}
    if len(texts) == 1:
        (text,) = texts.values()
    else:
        members = ",\n        ".join(f"{_quoted(name)}: {text}" for name, text in texts.items())
        text = "{\n        " + members + "\n    }"
    return _encode(f'{{\n    "outputs": {text}\n}}')


def classification_reply(result: ClassificationResult) -> bytes:
    """{"results": [[[label, score], ...], ...]}.

    Raises:
      ServingError: INVALID_ARGUMENT, if there are none.
    """
    if not result.classifications:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    rows = []
    for classifications in result.classifications:
        classes = classifications.classes
        scores = _decimals(np.array([c.score for c in classes], np.float32))
        pairs = (f"[{_quoted(c.label)}, {score}]" for c, score in zip(classes, scores, strict=True))
        rows.append("[" + ", ".join(pairs) + "]")
    return _results(rows)


def regression_reply(result: RegressionResult) -> bytes:
    """{"results": [value, ...]}.

    Raises:
      ServingError: INVALID_ARGUMENT, if there are none.
    """
    if not result.regressions:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return _results(_decimals(np.array([r.value for r in result.regressions], np.float32)))


def status_reply(response: GetModelStatusResponse) -> bytes:
    return _encode(
        json_format.MessageToJson(response, always_print_fields_with_no_presence=True) + "\n"
    )


def metadata_reply(response: GetModelMetadataResponse) -> bytes:
    """{"model_spec": ..., "metadata": {"signature_def": {"signature_def": {...}}}}."""
    signatures = SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    document = {
        "model_spec": _plain(response.model_spec),
        "metadata": {"signature_def": _plain(signatures)},
    }
    return _encode(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _plain(message) -> dict:
    return json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )


def _results(texts: Sequence[str]) -> bytes:
    return _encode('{\n    "results": [' + ", ".join(texts) + "]\n}")


def _check_not_empty(outputs: Mapping[str, TensorProto]) -> None:
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")


def _quoted(text: str) -> str:
    return json.encoder.encode_basestring(text)


def _encode(text: str) -> bytes:
    # Strings that are not UTF-8 go out as the bytes they are.
    return text.encode("utf-8", "surrogateescape")


def _texts(name: str, tensor: TensorProto, axis: int) -> list[str]:
    """JSON of the parts of a tensor along its first `axis` axes: 0 for the whole of it."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    texts = _value_texts(name, tensor)
    for last in range(len(shape) - 1, axis - 1, -1):
        size = shape[last]
        texts = [
            "[" + ", ".join(texts[n * size : (n + 1) * size]) + "]"
            for n in range(math.prod(shape[:last]))
        ]
    return texts


def _value_texts(name: str, tensor: TensorProto) -> list[str]:
    """JSON of each value of a tensor."""
    import tensorflow as tf

    if tensor.dtype != types_pb2.DT_STRING and tensor.dtype not in KINDS:
        raise invalid(f"Failed to write JSON value for tensor type: {dtype_name(tensor.dtype)}")
    values = tf.make_ndarray(tensor).ravel()
    if tensor.dtype == types_pb2.DT_STRING:
        if name.endswith(_BYTES_SUFFIX):
            return [f'{{"b64": "{base64.b64encode(v).decode()}"}}' for v in values]
        return [_quoted(v.decode("utf-8", "surrogateescape")) for v in values]
    if values.dtype == np.bool_:
        return ["true" if v else "false" for v in values.tolist()]
    if values.dtype.kind == "f":
        return _decimals(values)
    return list(map(str, values.tolist()))


def _decimals(values: np.ndarray) -> list[str]:
    """The texts of float values, formatted some thousands in one go."""
    texts = []
    for start in range(0, values.size, _PIECE):  # other threads run between two pieces
        texts += _piece_of_decimals(values[start : start + _PIECE])
    return texts


def _piece_of_decimals(values: np.ndarray) -> list[str]:
    digits = 9 if values.dtype == np.float32 else 17
    formats = np.where(_six_digits_suffice(values), "%.6g", f"%.{digits}g").tolist()
    texts = ("\n".join(formats) % tuple(values.tolist())).split("\n")
    for n in np.flatnonzero(~np.isfinite(values)):
        value = values[n]
        texts[n] = "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    for n in np.flatnonzero(values == np.rint(values)):
        if texts[n].lstrip("-").isdigit():
            texts[n] += ".0"
    return texts


def _six_digits_suffice(values: np.ndarray) -> np.ndarray:
    """Which values are read back the same from six significant digits."""
    doubles = values.astype(np.float64)
    with np.errstate(all="ignore"):
        exponent = 5 - np.floor(np.log10(np.abs(doubles)))
        power = np.power(10.0, np.abs(exponent))
        rounded = np.where(
            exponent >= 0, np.rint(doubles * power) / power, np.rint(doubles / power) * power
        )
        return (rounded.astype(values.dtype) == values) | (doubles == 0)
