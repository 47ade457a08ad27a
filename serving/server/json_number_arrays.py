"""Long arrays of numbers in a JSON document, left as text until their dtype is known.

Python's parser makes an object of every value: for a body of 64 MiB these are gigabytes, and
seconds in which no other thread runs. Here such an array goes through that parser piece by piece,
and each piece is an array of numpy before the next one begins.
"""

from __future__ import annotations

import json
import json.decoder
import json.scanner
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

# Shorter arrays are cheaper as lists; shorter documents are not searched.
_SHORTEST_ARRAY = 2**10
_SHORTEST_DOCUMENT = 2**16
_PIECE_BYTES = 2**18

# A string, to be stepped over; or what may be arrays of numbers, and what is between them.
_STRING_OR_ARRAYS = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|\[[\[\]0-9eE+\-., \t\n\rNaInfity]*+', re.DOTALL
)
_DIGIT = re.compile(rb"[0-9]")
_BRACKETS_TO_SPACES = bytes.maketrans(b"[]", b"  ")
_NO_STRUCTURE = b"0123456789eE+-. \t\n\rNaInfity"


class Infinity(float):
    """What was written as Infinity, unlike a number that was too big for a double."""


def constant(name: str) -> float:
    """The value of NaN, Infinity or -Infinity."""
    return float("nan") if name == "NaN" else Infinity(name)


_DECODER = json.JSONDecoder(parse_constant=constant)


class NumberArray:
    """A JSON array that, by its letters, holds nothing but numbers and arrays of them.

    Attributes:
      data: its text.
      start: where it begins in the document.
    """

    def __init__(self, data: bytes, start: int):
        self.data = data
        self.start = start

    def commas(self) -> int:
        """One less than the number of values, or more than that."""
        return self.data.count(b",")

    def shape(self) -> tuple[int, ...] | None:
        """The sizes of the nested arrays, none of them 0; None if they are ragged."""
        structure = self.data.translate(None, _NO_STRUCTURE)
        rank = len(structure) - len(structure.lstrip(b"["))
        # The first array of each depth says what all of that depth are.
        inside, shape = b"", []
        for depth in range(rank - 1, -1, -1):
            closing = b"]" * (rank - depth)
            end = structure.find(closing)
            if end < 0:
                return None
            size = (end + len(closing) - depth - 1) // (len(inside) + 1)
            inside = b"[" + ((inside + b",") * size)[:-1] + b"]"
            shape.append(size)
        return tuple(reversed(shape)) if inside == structure else None

    def pieces(self) -> Iterator[list]:
        """All values in order, whatever the nesting, some thousands at a time.

        Raises:
          ValueError: something is no number of JSON.
        """
        data = self.data.translate(_BRACKETS_TO_SPACES)
        start = 0
        while start <= len(data):
            end = data.find(b",", start + _PIECE_BYTES)
            end = len(data) if end < 0 else end
            yield _DECODER.decode(f"[{data[start:end].decode()}]")
            start = end + 1


def find_number_arrays(text: str) -> dict[int, int]:
    """The ends of the long arrays of numbers in a JSON document, by their beginnings."""
    # Pictures in base64 have next to no commas, and are not searched.
    if len(text) < _SHORTEST_DOCUMENT or text.count(",") < _SHORTEST_ARRAY // 8:
        return {}
    found = {}
    for match in _STRING_OR_ARRAYS.finditer(text):
        long = match.end() - match.start() >= _SHORTEST_ARRAY
        if long and text[match.start()] == "[":
            for start, end in _balanced(match[0].encode()):
                found[match.start() + start] = match.start() + end
    return found


def _balanced(data: bytes) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of the long arrays in a text that begins with one."""
    if not _DIGIT.search(data):
        return
    letters = np.frombuffer(data, np.uint8)
    brackets = np.flatnonzero((letters == ord("[")) | (letters == ord("]")))
    opens = letters[brackets] == ord("[")
    depth = np.cumsum(np.where(opens, np.int8(1), np.int8(-1)), dtype=np.int32)
    if depth.min() < 0:
        complete = int(np.argmax(depth < 0))
        brackets, opens, depth = brackets[:complete], opens[:complete], depth[:complete]
    ends = brackets[depth == 0] + 1
    starts = brackets[opens & (depth == 1)][: len(ends)]
    long = ends - starts >= _SHORTEST_ARRAY
    for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
        if _DIGIT.search(data, start, end):
            yield start, end


class NumberArrayDecoder(json.JSONDecoder):
    """Python's JSON parser, but that long arrays of numbers become `NumberArray`s.

    Args:
      found: see `find_number_arrays`.
      object_pairs_hook: as for JSONDecoder.
    """

    def __init__(
        self,
        found: dict[int, int],
        object_pairs_hook: Callable[[Sequence[tuple[str, Any]]], dict[str, Any]],
    ):
        super().__init__(object_pairs_hook=object_pairs_hook, parse_constant=constant)
        self._found = found
        self.parse_array = self._array
        self.scan_once = json.scanner.py_make_scanner(self)

    def _array(self, text_and_end: tuple[str, int], scan_once: Callable) -> tuple[Any, int]:
        text, inside = text_and_end
        end = self._found.get(inside - 1)
        if end is None:
            return json.decoder.JSONArray(text_and_end, scan_once)
        return NumberArray(text[inside - 1 : end].encode(), inside - 1), end
