"""Converts NumPy arrays to the tensors of both protocols, and back."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.client.errors import ReplyError
from serving.client.messages import TensorProto
from serving.client.results import TensorSpec
from serving.tensor_types import NUMBERS, TENSOR_TYPES

_NUMPY_NAMES = {name: numpy_name for name, numpy_name, _ in TENSOR_TYPES.values()}


def as_array(value: Any, name: str) -> np.ndarray:
    """Makes an array that can be sent; strings and bytes become an array of bytes objects.

    Args:
      value: an array, or anything that NumPy converts to one.
      name: name of the input, for messages.

    Raises:
      ValueError: a list is ragged, or elements have a type that tensors cannot have.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SU" and not isinstance(value, np.ndarray):
            # NumPy's own strings lose trailing zero bytes.
            array = np.asarray(value, dtype=object)
    except ValueError as error:
        raise ValueError(f"{name}: not an array: {error}") from error
    if array.dtype.kind in "SUO":
        flat = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
        for item in flat:
            if not isinstance(item, bytes):
                kind = type(item).__name__
                raise ValueError(f"{name}: expected numbers or bytes. Received: {kind}")
        array = np.fromiter(flat, object, len(flat)).reshape(array.shape)
    elif array.dtype.name not in NUMBERS:
        raise ValueError(f"{name}: tensors cannot hold {array.dtype.name}.")
    return array


def to_proto(array: np.ndarray) -> TensorProto:
    """Makes the message of an array from `as_array`."""
    proto = TensorProto(dtype=NUMBERS[array.dtype.name])
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        proto.string_val.extend(array.ravel().tolist())
    else:
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        proto.tensor_content = little_endian.tobytes()
    return proto


def from_proto(proto: TensorProto, name: str) -> np.ndarray:
    """Makes an array from a message; strings become an object array of bytes.

    The message has its values as bytes, or in the field of their type. In such a field, the last
    value stands for all missing ones.

    Args:
      proto: the message.
      name: name of the output, for messages.

    Raises:
      ReplyError: the type is unknown, or the number of bytes or values does not match the shape.
    """
    if proto.dtype not in TENSOR_TYPES:
        raise ReplyError(f"output {name} has the type {proto.dtype}, which is unknown here")
    _, numpy_name, field = TENSOR_TYPES[proto.dtype]
    dtype = _dtype(numpy_name)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    count = math.prod(shape)
    try:
        if min(shape, default=0) < 0:
            raise ValueError("negative size")
        if proto.tensor_content:
            return np.frombuffer(proto.tensor_content, dtype).reshape(shape).copy()
        values = list(getattr(proto, field))
        if field == "half_val":
            flat = np.array(values, np.uint16).view(dtype)
        elif field in ("scomplex_val", "dcomplex_val"):
            parts = "float32" if field == "scomplex_val" else "float64"
            flat = np.array(values, parts).view(dtype)
        elif field == "string_val":
            flat = np.fromiter(values, object, len(values))
        else:
            flat = np.array(values, dtype)
        if len(flat) > count or (field == "string_val" and len(flat) < count):
            raise ValueError(f"{len(flat)} values")
        if len(flat) < count:
            flat = np.pad(flat, (0, count - len(flat)), mode="edge" if len(flat) else "constant")
        return flat.reshape(shape)
    except (ValueError, TypeError, MemoryError) as error:
        raise ReplyError(f"output {name} of shape {shape} cannot be read: {error}") from error


def _dtype(numpy_name: str) -> np.dtype:
    if numpy_name == "bfloat16":
        import ml_dtypes  # adds the type to NumPy

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(numpy_name)


def to_json(array: np.ndarray, name: str) -> Any:
    """Makes the JSON value of an array from `as_array`: nested lists, bytes in base64.

    Raises:
      ValueError: the numbers are complex, which TensorFlow Serving's JSON does not support.
    """
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: REST carries no complex numbers; gRPC does.")
    if array.dtype != object:
        return array.astype(float).tolist() if array.dtype.kind == "V" else array.tolist()
    values = np.fromiter((encode(item) for item in array.ravel()), object, array.size)
    return values.reshape(array.shape).tolist()


def encode(content: bytes) -> dict[str, str]:
    """Encodes bytes for TensorFlow Serving's JSON."""
    return {"b64": base64.b64encode(content).decode("ascii")}


def from_json(value: Any, name: str, spec: TensorSpec | None) -> np.ndarray:
    """Makes an array from a JSON value; strings become an object array of bytes.

    Args:
      value: nested lists.
      name: name of the output, for messages.
      spec: its type; None to infer the type from the values.

    Raises:
      ReplyError: the value is not a tensor.
    """
    numpy_name = _NUMPY_NAMES.get(spec.dtype) if spec else None
    try:
        array = np.array(value) if numpy_name is None else np.array(value, _dtype(numpy_name))
        if array.dtype.kind in "UO":
            flat = [_text(item) for item in np.array(value, dtype=object).ravel().tolist()]
            array = np.fromiter(flat, object, len(flat)).reshape(array.shape)
        return array
    except (ValueError, TypeError, OverflowError) as error:
        raise ReplyError(f"output {name} is no tensor: {error}") from error


def _text(item: Any) -> bytes:
    if isinstance(item, Mapping) and list(item) == ["b64"]:
        return base64.b64decode(item["b64"], validate=True)
    if isinstance(item, str):
        return item.encode()
    raise TypeError(f"holds {type(item).__name__} where text was expected")


def tensor_spec(dtype: int, shape: tuple[int, ...] | None) -> TensorSpec:
    """Makes a `TensorSpec` from the number of a type and a shape, in which -1 means any size."""
    name = TENSOR_TYPES[dtype].name if dtype in TENSOR_TYPES else f"type {dtype}"
    sizes = None if shape is None else tuple(None if size < 0 else size for size in shape)
    return TensorSpec(name, sizes)
