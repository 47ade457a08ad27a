"""The JSON body of a `:predict` call as tensors.

A value that is not a regular tensor of its dtype is walked element by element, to say where it goes
wrong as TensorFlow Serving does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server.errors import ServingError
from serving.server.json_documents import (
    debug_string,
    expanded,
    format_error,
    invalid,
    type_name,
)
from serving.server.json_number_arrays import NumberArray
from serving.server.json_values import (
    KINDS,
    decode_base64,
    dtype_name,
    is_base64,
    regular_tensor,
)


def tensors_from_rows(instances: list, inputs: Mapping[str, TensorInfo]) -> dict[str, TensorProto]:
    """The value of "instances": one element for each element of the batch.

    Args:
      instances: values of the only input, or objects with one value for each input; not empty.
      inputs: the inputs of the signature.

    Returns:
      Tensors of shape (len(instances), ...).

    Raises:
      ServingError: INVALID_ARGUMENT, naming the first element that does not fit.
    """
    if isinstance(instances, NumberArray):
        if len(inputs) == 1:
            ((name, info),) = inputs.items()
            tensor = regular_tensor(instances, info.dtype)
            if tensor is not None:
                return {name: tensor}
        instances = expanded(instances)
    if len(inputs) > 1 and not isinstance(instances[0], dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if not _is_object(instances[0]):
        name = next(iter(inputs))
        tensor = regular_tensor(instances, inputs[name].dtype)
        if tensor is not None:
            return {name: tensor}
    elif all(_is_object(row) and row.keys() == inputs.keys() for row in instances):
        tensors = {
            name: regular_tensor([row[name] for row in instances], info.dtype)
            for name, info in inputs.items()
        }
        if all(tensor is not None for tensor in tensors.values()):
            return tensors
    raise _first_error_of_rows(expanded(instances), inputs)


def tensors_from_columns(value: Any, inputs: Mapping[str, TensorInfo]) -> dict[str, TensorProto]:
    """The value of "inputs": a whole tensor, or an object with one for each input.

    Raises:
      ServingError: INVALID_ARGUMENT or, for a dtype that JSON has no form for, UNIMPLEMENTED.
    """
    if _is_object(value):
        for name in inputs:
            if name not in value:
                raise invalid(f"Missing named input: {name} in 'inputs' object.")
        return {name: _tensor(value[name], info.dtype) for name, info in inputs.items()}
    if len(inputs) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            "required as per tensorinfo_map"
        )
    ((name, info),) = inputs.items()
    return {name: _tensor(value, info.dtype)}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _tensor(value: Any, dtype: int) -> TensorProto:
    tensor = regular_tensor(value, dtype)
    if tensor is None:
        raise _first_error(expanded(value), dtype) or _irregular()
    return tensor


def _irregular() -> ServingError:
    return invalid("The value is not a regular tensor.")


def _first_error_of_rows(instances: list, inputs: Mapping[str, TensorInfo]) -> ServingError:
    as_objects = _is_object(instances[0])
    shapes: dict[str, list[int]] = {}
    for n, row in enumerate(instances):
        if _is_object(row) != as_objects:
            expected, got = ("object", "list") if as_objects else ("value/list", "object")
            return invalid(f"Expecting {expected} but got {got} at item {n} of input list")
        for name, value in row.items() if as_objects else [(next(iter(inputs)), row)]:
            error = _first_error_of_item(value, name, inputs, shapes)
            if error is not None:
                key = f" key: {name}" if as_objects else ""
                return invalid(
                    f"Failed to process element: {n}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                )
        if as_objects and row.keys() != inputs.keys():
            return invalid(
                f"Failed to process element: {n} of 'instances' list. JSON object: "
                f"{debug_string(row)} keys must be equal to: {','.join(sorted(inputs))}"
            )
    return _irregular()


def _first_error_of_item(
    value: Any, name: str, inputs: Mapping[str, TensorInfo], shapes: dict[str, list[int]]
) -> ServingError | None:
    if name not in inputs:
        return invalid(f"JSON object: does not have named input: {name}")
    error = _first_error(value, inputs[name].dtype)
    if error is not None:
        return error
    shape = _first_shape(value)
    expected = shapes.setdefault(name, shape)
    if math.prod(shape) != math.prod(expected):
        return invalid(f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(shape)}")
    if shape != expected:
        text, expected_text = (f"[{','.join(map(str, s))}]" for s in (shape, expected))
        return invalid(f"Expecting shape {expected_text} but got: {text}")
    return None


def _first_shape(value: Any) -> list[int]:
    """The shape that the first element of each list has."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _first_error(value: Any, dtype: int) -> ServingError | None:
    """Why `value` is no tensor of the dtype, at its first element that is wrong."""
    shape = _first_shape(value)
    rank = len(shape)
    lists: list[Iterator] = [iter([value])]  # a stack, since nesting may be deeper than Python's
    while lists:
        level = len(lists) - 1
        for item in lists[-1]:
            if not isinstance(item, list):
                error = (
                    _leaf_error(item, dtype) if level == rank else _level_error(item, level, rank)
                )
                if error is not None:
                    return error
                continue
            if level >= rank:
                return invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
            if len(item) != shape[level]:
                return invalid(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} "
                    f"expected size: {shape[level]}"
                )
            lists.append(iter(item))
            break
        else:
            lists.pop()
    return None


def _level_error(item: Any, level: int, rank: int) -> ServingError:
    return format_error(
        item,
        f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}",
    )


def _leaf_error(item: Any, dtype: int) -> ServingError | None:
    if dtype == types_pb2.DT_STRING:
        if isinstance(item, str):
            return None
        if isinstance(item, dict):
            if not is_base64(item):
                return format_error(item, "not formatted correctly for base64 data")
            try:
                decode_base64(item)
            except ServingError as error:
                return error
            return None
    elif dtype not in KINDS and not isinstance(item, dict):
        return ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {debug_string(item)} to type: {dtype_name(dtype)}",
        )
    elif dtype in KINDS and KINDS[dtype].holds(item):
        return None
    return format_error(
        item, f"Type: {type_name(item)} is not of expected type: {dtype_name(dtype)}"
    )
