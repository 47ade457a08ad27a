"""JSON values as tensors of one dtype: numbers through numpy as a whole, never one by one."""

from __future__ import annotations

import binascii
import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.server.json_documents import invalid, number_too_big
from serving.server.json_number_arrays import Infinity, NumberArray

_BASE64_KEY = "b64"
_MAX_RANK = 254  # of a TensorShape; TensorFlow aborts the process above it


@dataclasses.dataclass(frozen=True)
class _Kind:
    """How a dtype is written in JSON: as Python values of these types, for integers in a range."""

    array: type[np.generic]
    types: frozenset[type]
    lowest: int | None = None
    highest: int | None = None

    def holds(self, value: Any) -> bool:
        """Whether `value` is of the kind."""
        if type(value) not in self.types:
            return False
        return self.lowest is None or self.lowest <= value <= self.highest


def _integers(array: type[np.integer]) -> _Kind:
    limits = np.iinfo(array)
    return _Kind(array, frozenset({int}), int(limits.min), int(limits.max))


# TensorFlow Serving lets integers of 8 and 16 bits wrap around; here they are out of range.
KINDS = {
    types_pb2.DT_FLOAT: _Kind(np.float32, frozenset({int, float, Infinity})),
    types_pb2.DT_DOUBLE: _Kind(np.float64, frozenset({int, float, Infinity})),
    types_pb2.DT_BOOL: _Kind(np.bool_, frozenset({bool})),
    types_pb2.DT_INT8: _integers(np.int8),
    types_pb2.DT_INT16: _integers(np.int16),
    types_pb2.DT_INT32: _integers(np.int32),
    types_pb2.DT_INT64: _integers(np.int64),
    types_pb2.DT_UINT8: _integers(np.uint8),
    types_pb2.DT_UINT32: _integers(np.uint32),
    types_pb2.DT_UINT64: _integers(np.uint64),
}


def dtype_name(dtype: int) -> str:
    """TensorFlow's name of a dtype, such as "float" for DT_FLOAT."""
    return types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()


def is_base64(value: Any) -> bool:
    """Whether a JSON value is {"b64": string}, and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_BASE64_KEY), str)


def decode_base64(value: dict[str, str]) -> bytes:
    """The bytes of {"b64": string}. Line breaks are ignored and the padding may be left out."""
    text = value[_BASE64_KEY]
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        text = re.sub(r"\s", "", text).rstrip("=.")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def regular_tensor(value: Any, dtype: int) -> TensorProto | None:
    """The tensor of a JSON value; None if it is ragged or its values are not of the dtype."""
    if isinstance(value, NumberArray):
        return _stacked([value], (), dtype)
    if isinstance(value, list) and value and set(map(type, value)) == {NumberArray}:
        return _stacked(value, (len(value),), dtype)
    flat = _flatten(value)
    if flat is None:
        return None
    values, shape = flat
    tensor = _empty_tensor(shape, dtype)
    if dtype == types_pb2.DT_STRING:
        if not all(isinstance(v, str) or is_base64(v) for v in values):
            return None
        tensor.string_val.extend(
            v.encode() if isinstance(v, str) else decode_base64(v) for v in values
        )
        return tensor
    array = numbers(values, dtype)
    if array is None:
        return None
    tensor.tensor_content = array.tobytes()
    return tensor


def _stacked(
    arrays: Sequence[NumberArray], outer: tuple[int, ...], dtype: int
) -> TensorProto | None:
    """The tensor of arrays of one shape, after the `outer` dimensions; None if there is none."""
    shape = arrays[0].shape()
    if shape is None or dtype not in KINDS or any(a.shape() != shape for a in arrays[1:]):
        return None
    tensor = _empty_tensor(outer + shape, dtype)
    pieces = []
    for array in arrays:
        size = 0
        try:
            for values in array.pieces():
                piece = numbers(values, dtype)
                if piece is None:
                    return None
                pieces.append(piece)
                size += piece.size
        except ValueError:
            return None
        if size != math.prod(shape):
            return None
    tensor.tensor_content = np.concatenate(pieces).tobytes()
    return tensor


def _empty_tensor(shape: Sequence[int], dtype: int) -> TensorProto:
    """A tensor without its values."""
    if len(shape) > _MAX_RANK:
        raise invalid(f"A tensor has at most {_MAX_RANK} dimensions, received {len(shape)}.")
    tensor = TensorProto(dtype=dtype)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _flatten(value: Any) -> tuple[list, list[int]] | None:
    """The innermost values in order and the shape of the lists; None if they are ragged."""
    level, shape = [value], []
    while level and isinstance(level[0], list):
        if set(map(type, level)) != {list}:
            return None
        sizes = set(map(len, level))
        if len(sizes) > 1:
            return None
        shape.extend(sizes)
        level = list(itertools.chain.from_iterable(level))
    return None if list in set(map(type, level)) else (level, shape)


def numbers(values: list, dtype: int) -> np.ndarray | None:
    """One-dimensional array of `values`; None unless all of them are values of the dtype."""
    kind = KINDS.get(dtype)
    if kind is None or not kind.types.issuperset(map(type, values)):
        return None
    if float not in kind.types and kind.lowest is None:
        return np.array(values, kind.array)
    if kind.lowest is not None:
        if values and not (kind.lowest <= min(values) and max(values) <= kind.highest):
            return None
        return np.array(values, kind.array)
    try:
        doubles = np.array(values, np.float64)
    except OverflowError:
        number_too_big()
    if any(type(values[n]) is not Infinity for n in np.flatnonzero(np.isinf(doubles))):
        number_too_big()
    with np.errstate(over="ignore", under="ignore"):  # a double beyond float32 is an infinity
        return doubles.astype(kind.array)
