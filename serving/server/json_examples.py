"""The JSON body of a `:classify` or `:regress` call as tf.Examples."""

from __future__ import annotations

from typing import Any

from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis.input_pb2 import Input

from serving.server.errors import ServingError
from serving.server.json_documents import format_error, invalid, type_name
from serving.server.json_values import decode_base64, is_base64, numbers

_INT64_LOWEST, _INT64_HIGHEST = -(2**63), 2**63 - 1
_UINT64_HIGHEST = 2**64 - 1


def input_from_json(document: dict[str, Any]) -> Input:
    """The value of "examples", with that of "context" where there is one.

    Raises:
      ServingError: INVALID_ARGUMENT, naming what does not fit.
    """
    result = Input()
    if "context" in document:
        target = result.example_list_with_context
        target.context.CopyFrom(_example(document["context"]))
    else:
        target = result.example_list
    examples = document.get("examples")
    if "examples" not in document:
        raise format_error(
            document, "When method is classify, key 'examples' is expected and was not found"
        )
    if not isinstance(examples, list):
        raise format_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise format_error(document, "'examples' value is an empty array")
    target.examples.extend(_example(value) for value in examples)
    return result


def _example(value: Any) -> Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = Example()
    for name, content in value.items():
        values = content if isinstance(content, list) else [content]
        example.features.feature[name].CopyFrom(_feature(name, values))
    return example


def _feature(name: str, values: list) -> Feature:
    """A feature with the values' common kind."""
    feature = Feature()
    kinds = set(map(_kind, values))
    if len(kinds) > 1 or None in kinds:
        raise _first_error(name, values)
    if kinds == {"bytes"}:
        feature.bytes_list.value.extend(
            v.encode() if isinstance(v, str) else decode_base64(v) for v in values
        )
    elif kinds == {"float"}:
        feature.float_list.value.extend(numbers(values, types_pb2.DT_FLOAT).tolist())
    elif kinds == {"int64"}:
        feature.int64_list.value.extend(map(int, values))
    return feature


def _kind(value: Any) -> str | None:
    if isinstance(value, str) or is_base64(value):
        return "bytes"
    if isinstance(value, int):
        if _INT64_LOWEST <= value <= _INT64_HIGHEST:
            return "int64"
        # What fits no 64 bits is a double to TensorFlow Serving.
        return "float" if not 0 <= value <= _UINT64_HIGHEST else None
    return "float" if isinstance(value, float) else None


def _first_error(name: str, values: list) -> ServingError:
    expected = None
    for value in values:
        kind = _kind(value)
        if kind is None and not isinstance(value, int):
            return invalid(
                f"Feature: {name} has element with unexpected JSON type: {type_name(value)}"
            )
        if expected is not None and (kind or "int64") != expected:
            return invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
        if kind is None:
            return invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        expected = kind
    raise AssertionError("values of one kind have no error")
