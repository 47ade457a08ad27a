"""Parses the JSON body of a request to named arrays, or to tf.Examples.

It is stricter than TensorFlow Serving where wrong results or a risk to the server would follow: an
object must not have duplicate keys, strings must be valid UTF-8, integers of 8 and 16 bits do not
wrap around, nesting is limited by Python's recursion limit, and there may be at most a million
values other than numbers.
"""

from __future__ import annotations

import collections
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis.input_pb2 import Input

from serving.server.errors import ServingError, invalid
from serving.server.json_bodies.arrays import (
    KEY,
    PLACEHOLDER_LENGTH,
    NumberArray,
    array_of,
    brief,
    constant,
    cut_number_arrays,
    is_base64,
    number_too_big,
    numbers_of,
    quoted,
    strings_of,
)

# Each value becomes a Python object. Arrays of numbers do not count: see arrays.
_MOST_VALUES = 1_000_000


def parse_object(body: bytes) -> dict[str, Any]:
    """Parses the JSON object at the beginning of a request's body; anything after it is ignored.

    Returns:
      Its members. Long arrays of numbers are `NumberArray`s, which are not yet checked.

    Raises:
      ServingError: INVALID_ARGUMENT, if the body is not JSON, or not an object.
    """
    body, arrays = cut_number_arrays(body)
    if body.count(b",") > _MOST_VALUES:
        raise invalid(
            f"The request holds more than {_MOST_VALUES} values other than regular arrays of "
            "numbers; send less at a time."
        )

    def members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any] | NumberArray:
        if pairs and pairs[0][0] == KEY:
            return arrays[pairs[0][1]]
        result = dict(pairs)
        if len(result) != len(pairs):
            key, _ = collections.Counter(key for key, _ in pairs).most_common(1)[0]
            raise invalid(f"JSON Parse error: The key {quoted(key)} comes twice in an object")
        return result

    decoder = json.JSONDecoder(object_pairs_hook=members, parse_constant=constant)
    try:
        text = body.decode("utf-8-sig")
        document, _ = decoder.raw_decode(text, re.match(r"[ \t\n\r]*", text).end())
        if "\\u" in text:  # perhaps half of a surrogate pair
            json.dumps(document, ensure_ascii=False, default=brief).encode()
    except UnicodeError:
        raise invalid("JSON Parse error: A string is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        reason = error.msg if body else "The document is empty"
        before = arrays[: text.count(KEY, 0, error.pos)]
        position = error.pos + sum(len(array.text) - PLACEHOLDER_LENGTH for array in before)
        raise invalid(f"JSON Parse error: {reason} at character {position}") from None
    except RecursionError:
        raise invalid("JSON Parse error: The document is nested too deeply") from None
    except ValueError:  # an integer of thousands of digits
        raise number_too_big() from None
    if not isinstance(document, dict):
        raise invalid(f"The body of a request is a JSON object, got {brief(document)}")
    return document


def named_arrays(
    document: dict[str, Any], inputs: Mapping[str, TensorInfo]
) -> dict[str, np.ndarray]:
    """Makes the input tensors of a `:predict` call.

    Args:
      document: the body, with "instances", one value or object per batch entry, or "inputs", the
        whole tensor or an object with one per input.
      inputs: inputs of the signature, at least one.

    Returns:
      An array for each input; strings become an object array of bytes.

    Raises:
      ServingError: INVALID_ARGUMENT, which names the first element that does not fit; UNIMPLEMENTED
        for "inputs" of a dtype that JSON cannot represent.
    """
    if ("inputs" in document) == ("instances" in document):
        raise invalid("Send exactly one of the 'inputs' or 'instances' keys.")
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs)
    instances = document["instances"]
    if not isinstance(instances, (list, NumberArray)) or instances == []:
        raise invalid(f"'instances' must be an array of at least one value: {brief(instances)}")
    try:
        return _from_rows(instances, inputs)
    except ServingError as error:  # also for a dtype that JSON cannot represent
        raise invalid(error.message) from None


def _from_columns(value: Any, inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    columns = value if _is_object(value) else {_only_name(inputs, "inputs"): value}
    for name in inputs:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: array_of(columns[name], info.dtype, name) for name, info in inputs.items()}


def _from_rows(
    instances: list | NumberArray, inputs: Mapping[str, TensorInfo]
) -> dict[str, np.ndarray]:
    rows = instances if isinstance(instances, list) else []
    as_objects = bool(rows) and _is_object(rows[0])
    for n, row in enumerate(rows):
        if _is_object(row) != as_objects:
            kind = "an object" if as_objects else "no object"
            raise invalid(f"instances[{n}]: expected {kind} as the first, got {brief(row)}")
        if as_objects and row.keys() != inputs.keys():
            raise invalid(
                f"instances[{n}]: the keys must be the names of the inputs, {sorted(inputs)}; got "
                f"{', '.join(map(quoted, itertools.islice(row, 10)))}"
            )
    if not as_objects:
        name = _only_name(inputs, "instances")
        return {name: array_of(instances, inputs[name].dtype, name)}
    return {
        name: array_of([row[name] for row in rows], info.dtype, name)
        for name, info in inputs.items()
    }


def _only_name(inputs: Mapping[str, TensorInfo], key: str) -> str:
    if len(inputs) > 1:
        raise invalid(f"'{key}' must hold objects, for there are several inputs: {sorted(inputs)}")
    return next(iter(inputs))


def examples(document: dict[str, Any]) -> Input:
    """Makes the tf.Examples of a `:classify` or `:regress` call.

    Args:
      document: the body, with "examples" and optionally "context".

    Raises:
      ServingError: INVALID_ARGUMENT, which names what does not fit.
    """
    result = Input()
    target = result.example_list
    if "context" in document:
        target = result.example_list_with_context
        target.context.CopyFrom(_example(document["context"], "context"))
    values = document.get("examples")
    if not isinstance(values, list) or not values:
        raise invalid("'examples' must be an array of at least one object.")
    target.examples.extend(_example(value, f"examples[{n}]") for n, value in enumerate(values))
    return result


def _example(value: Any, place: str) -> Example:
    if not isinstance(value, dict):
        raise invalid(f"{place}: an example must be a JSON object, got {brief(value)}")
    example = Example()
    for name, content in value.items():
        _fill_feature(example.features.feature[name], content, f"{place}, {quoted(name)}")
    return example


def _fill_feature(feature: Feature, content: Any, place: str) -> None:
    """Adds the values, which must all be of the same kind."""
    if isinstance(content, NumberArray) and len(content.shape) == 1:
        pieces = content.pieces()
    else:
        pieces = iter([content if isinstance(content, list) else [content]])
    kinds: set[str] = set()
    for values in pieces:
        kinds.update(_kind(value, place) for value in values)
        if len(kinds) > 1:
            raise invalid(f"{place}: expected values of one type, got {' and '.join(kinds)}")
        if kinds == {"bytes"}:
            feature.bytes_list.value.extend(strings_of(values, place))
        elif kinds == {"float"}:
            feature.float_list.value.extend(numbers_of(values, np.dtype(np.float32)).tolist())
        elif kinds:
            feature.int64_list.value.extend(map(int, values))


def _kind(value: Any, place: str) -> str:
    if isinstance(value, str) or is_base64(value):
        return "bytes"
    # TensorFlow Serving treats integers that do not fit into 64 bits as doubles.
    if isinstance(value, float) or (isinstance(value, int) and not -(2**63) <= value < 2**64):
        return "float"
    if isinstance(value, int) and value < 2**63:
        return "int64"
    raise invalid(f"{place}: expected numbers, at most int64, or strings, got {brief(value)}")


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)
