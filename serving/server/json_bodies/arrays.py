"""Converts JSON values to numpy arrays of one dtype.

Python's JSON parser makes an object of every number. For a body of 64 MiB these take gigabytes, and
seconds in which no other thread runs. So long arrays of numbers are cut out of a body before it is
parsed. They are parsed in pieces, each of which is converted to numpy before the next.
"""

from __future__ import annotations

import binascii
import itertools
import json
import math
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2

from serving.server.errors import ServingError, invalid
from serving.tensor_types import TENSOR_TYPES


class Infinity(float):
    """A number written as Infinity, unlike one that is too large for a double."""


def constant(name: str) -> float:
    """Returns the value of NaN, Infinity or -Infinity."""
    return float("nan") if name == "NaN" else Infinity(name)


_DECODER = json.JSONDecoder(parse_constant=constant)
_WITHOUT_JSON = ("uint16", "half", "bfloat16", "complex64", "complex128")
DTYPES = {  # types that JSON can represent
    number: np.dtype(kind.numpy)
    for number, kind in TENSOR_TYPES.items()
    if kind.name not in _WITHOUT_JSON
}
# From numpy's kinds of dtypes to the types to which Python's parser converts their values.
_PYTHON_TYPES = {
    "f": {int, float, Infinity},
    "i": {int},
    "u": {int},
    "b": {bool},
    "O": {str, dict},  # {"b64": string}
}
# Shorter arrays are cheaper as lists, and shorter bodies are not searched.
_SHORTEST_ARRAY = 2**10
_SHORTEST_BODY = 2**16
_PIECE_BYTES = 2**18
_MAX_RANK = 64  # the limit of numpy's arrays

# A string, even an unterminated one, to be skipped; or what may be arrays of numbers.
_STRING_OR_ARRAYS = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+["\\]?|\[[\[\]0-9eE+\-., \t\n\rNaInfity]*+', re.DOTALL
)
_DIGIT = re.compile(rb"[0-9]")
_BETWEEN = b", \t\n\r"
_BRACKETS_TO_BLANKS = bytes.maketrans(b"[]", b"  ")
_NO_STRUCTURE = b"0123456789eE+-. \t\n\rNaInfity"
# The object that replaces an array. Its key is secret, so no client can send it.
KEY = secrets.token_hex()
_PLACEHOLDER = b'{"%s":%%8d}' % KEY.encode()
PLACEHOLDER_LENGTH = len(_PLACEHOLDER % 0)


class NumberArray:
    """A long JSON array of numbers, or of equally long arrays of numbers, and so on.

    Attributes:
      text: the JSON text; only its brackets and commas have been checked.
      shape: sizes of the nested arrays, none of them 0.
    """

    def __init__(self, text: bytes, shape: tuple[int, ...]):
        self.text = text
        self.shape = shape

    def pieces(self) -> Iterator[list]:
        """Yields all values in order, without nesting, some thousands at a time.

        Raises:
          ServingError: INVALID_ARGUMENT, something is not a JSON number.
        """
        start = count = 0
        while start <= len(self.text):
            end = self.text.find(b",", start + _PIECE_BYTES)
            end = len(self.text) if end < 0 else end
            piece = self.text[start:end].translate(_BRACKETS_TO_BLANKS).decode()
            try:
                values = _DECODER.decode(f"[{piece}]")
            except json.JSONDecodeError as error:
                near = piece[max(error.pos - 20, 0) : error.pos + 20]
                raise invalid(f"JSON Parse error: {error.msg} near {near!r}") from None
            except ValueError:  # an integer of thousands of digits
                raise number_too_big() from None
            count += len(values)
            yield values
            start = end + 1
        if count != math.prod(self.shape):
            raise invalid("JSON Parse error: Expecting value between two commas")


def number_too_big() -> ServingError:
    """Makes the error for a number that a double cannot represent."""
    return invalid("JSON Parse error: Number too big to be stored in double")


def cut_number_arrays(body: bytes) -> tuple[bytes, list[NumberArray]]:
    """Cuts the long arrays of numbers out of a JSON body.

    Returns:
      The body with {KEY: n}, of length `PLACEHOLDER_LENGTH`, in place of array n; and the arrays.
    """
    arrays: list[NumberArray] = []

    def cut(match: re.Match) -> bytes:
        text = match[0].rstrip(_BETWEEN)
        if text[:1] != b"[" or len(text) < _SHORTEST_ARRAY or not _DIGIT.search(text):
            return match[0]
        shape = _shape(text)
        if shape is None:
            return match[0]
        arrays.append(NumberArray(text, shape))
        return _PLACEHOLDER % (len(arrays) - 1) + match[0][len(text) :]

    # Base64 pictures contain almost no commas, so they are not searched.
    if len(body) < _SHORTEST_BODY or body.count(b",") < _SHORTEST_ARRAY // 8:
        return body, []
    return _STRING_OR_ARRAYS.sub(cut, body), arrays


def _shape(text: bytes) -> tuple[int, ...] | None:
    """Returns the sizes of nested arrays; None if lengths differ or nesting is too deep."""
    structure = text.translate(None, _NO_STRUCTURE)
    rank = len(structure) - len(structure.lstrip(b"["))
    if rank > _MAX_RANK:
        return None
    # All arrays of a depth must be like the first one of that depth.
    inside, shape = b"", []
    for depth in range(rank - 1, -1, -1):
        closing = b"]" * (rank - depth)
        end = structure.find(closing)
        if end < 0:
            return None
        size = (end + len(closing) - depth - 1) // (len(inside) + 1)
        # Not join, which would allocate a C struct per element.
        inside = b"[" + ((inside + b",") * size)[:-1] + b"]"
        shape.insert(0, size)
    return tuple(shape) if inside == structure else None


def array_of(value: Any, data_type: int, place: str) -> np.ndarray:
    """Converts a JSON value to a tensor.

    Args:
      value: a value from Python's parser, which may contain `NumberArray`s.
      data_type: dtype, a number of types_pb2.
      place: name of the value, for error messages.

    Raises:
      ServingError: INVALID_ARGUMENT, which names the first element that does not fit; UNIMPLEMENTED
        if JSON cannot represent the dtype.
    """
    dtype = DTYPES.get(data_type)
    if dtype is None:
        name = types_pb2.DataType.Name(data_type).removeprefix("DT_").lower()
        message = f"{place}: JSON has no form for the type {name}; use gRPC."
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, message)
    if isinstance(value, list) and NumberArray in set(map(type, value)):
        parts: list[np.ndarray] = []
        for n, part in enumerate(value):
            parts.append(array_of(part, data_type, f"{place}[{n}]"))
            if parts[n].shape != parts[0].shape:
                raise invalid(f"{place}[{n}]: expected the shape {parts[0].shape} of the first")
        return np.stack(parts)
    if isinstance(value, NumberArray):
        return _converted(value.pieces(), value.shape, dtype, place)
    values, shape = _flatten(value, place)
    return _converted([values], shape, dtype, place)


def _flatten(value: Any, place: str) -> tuple[list, list[int]]:
    """Returns the innermost values in order, and the shape of the lists."""
    level, shape = [value], []
    while level:
        sizes = [len(v) if isinstance(v, list) else None for v in level]
        size = sizes[0]
        if sizes.count(size) != len(sizes):
            n = next(n for n, other in enumerate(sizes) if other != size)
            raise invalid(
                f"{place}{_index(n, shape)}: expected "
                f"{'no array' if size is None else f'an array of {size}'}, as the first, got "
                f"{brief(level[n]) if sizes[n] is None else f'an array of {sizes[n]}'}"
            )
        if size is None:
            break
        if len(shape) == _MAX_RANK:
            raise invalid(f"{place}: arrays may be nested {_MAX_RANK} deep here")
        shape.append(size)
        level = list(itertools.chain.from_iterable(level))
    return level, shape


def _converted(
    pieces: Iterable[list], shape: Sequence[int], dtype: np.dtype, place: str
) -> np.ndarray:
    """Converts the JSON values in `pieces` to an array."""
    parts, count = [], 0
    for values in pieces:
        n = _first_misfit(values, dtype)
        if n is not None:
            expected = 'a string or {"b64": string}' if dtype.kind == "O" else dtype.name
            found = brief(values[n])
            raise invalid(f"{place}{_index(count + n, shape)}: expected {expected}, got {found}")
        parts.append(strings_of(values, place) if dtype.kind == "O" else numbers_of(values, dtype))
        count += len(values)
    return np.concatenate(parts).reshape(shape)


def _first_misfit(values: list, dtype: np.dtype) -> int | None:
    """Returns the index of the first value that does not fit the dtype; None if all fit."""
    types = _PYTHON_TYPES[dtype.kind]
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    lowest, highest = (limits.min, limits.max) if limits else (0, 0)

    def fits(value: Any) -> bool:
        if type(value) is dict:
            return is_base64(value) and dict in types
        return type(value) in types and (not limits or lowest <= value <= highest)

    known = dtype.kind != "O" and types.issuperset(map(type, values))
    if known and (not limits or not values or (fits(min(values)) and fits(max(values)))):
        return None
    return next((n for n, value in enumerate(values) if not fits(value)), None)


def numbers_of(values: list, dtype: np.dtype) -> np.ndarray:
    """Makes an array of values that fit the dtype.

    Raises:
      ServingError: INVALID_ARGUMENT, a double cannot represent one of them.
    """
    if dtype.kind != "f":
        return np.array(values, dtype)
    try:
        doubles = np.array(values, np.float64)
    except OverflowError:
        raise number_too_big() from None
    if any(type(values[n]) is not Infinity for n in np.flatnonzero(np.isinf(doubles))):
        raise number_too_big()
    with np.errstate(over="ignore", under="ignore"):  # a double beyond float32 is an infinity
        return doubles.astype(dtype)


def strings_of(values: list[str | dict[str, str]], place: str) -> np.ndarray:
    """Decodes texts and {"b64": text} to bytes; line breaks and missing padding are allowed.

    Raises:
      ServingError: INVALID_ARGUMENT, one of them is not valid base64.
    """
    result = np.empty(len(values), object)
    for n, value in enumerate(values):
        if isinstance(value, str):
            result[n] = value.encode()
            continue
        text = value["b64"]
        try:
            result[n] = binascii.a2b_base64(text, strict_mode=True)
            continue
        except ValueError:
            text = re.sub(r"\s", "", text).rstrip("=.")
        try:
            result[n] = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
        except ValueError:
            raise invalid(f"{place}: Unable to base64 decode {quoted(text)}") from None
    return result


def is_base64(value: Any) -> bool:
    """Whether a JSON value is exactly {"b64": string}."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _index(n: int, shape: Sequence[int]) -> str:
    """Formats the index of value number `n` of a flattened tensor."""
    return "".join(f"[{i}]" for i in np.unravel_index(n, shape))


def quoted(text: str) -> str:
    """Quotes a string for a message, shortened."""
    return json.dumps(text[:60])


def brief(value: Any) -> str:
    """Describes a JSON value in a few words."""
    if isinstance(value, (dict, list, NumberArray)):
        return "an object" if isinstance(value, dict) else "an array"
    return quoted(value) if isinstance(value, str) else json.dumps(value)[:60]
