"""The tables of a flatbuffer, with every offset checked; the library itself trusts them.

See https://flatbuffers.dev/internals: a table begins with the distance back to its vtable, which
has for each field the distance from the table's beginning, 0 for one that is absent.
"""

from __future__ import annotations

import struct

import numpy as np


class FlatbufferError(ValueError):
    """An offset, a length or an index leads out of the file."""


class Table:
    """A table; fields are told by their number in the schema."""

    def __init__(self, content: bytes, position: int):
        self._content, self._position = content, position
        self._vtable = position - _read("<i", content, position)
        self._length = _read("<H", content, self._vtable)
        size = _read("<H", content, self._vtable + 2)
        if self._length < 4 or self._length % 2 or size < 4:
            raise FlatbufferError("a damaged table")
        _check(content, self._vtable, self._length)
        _check(content, position, size)
        for field in range((self._length - 4) // 2):
            if _read("<H", content, self._vtable + 4 + 2 * field) >= size:
                raise FlatbufferError("a field beyond its table")

    @classmethod
    def root(cls, content: bytes) -> Table:
        """The outermost table."""
        return cls(content, _read("<I", content, 0))

    def number(self, field: int, kind: str, otherwise: int = 0) -> int:
        """A number; `kind` as in `struct`."""
        position = self._field(field)
        return otherwise if position is None else _read(f"<{kind}", self._content, position)

    def table(self, field: int) -> Table | None:
        """A table; None if it is absent."""
        position = self._target(field)
        return None if position is None else Table(self._content, position)

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        return [
            Table(self._content, at + _read("<I", self._content, at))
            for at in range(start, start + 4 * count, 4)
        ]

    def text(self, field: int) -> str | None:
        """A text; None if it is absent."""
        position = self._target(field)
        return None if position is None else _text(self._content, position)

    def array(self, field: int, dtype: str) -> np.ndarray:
        """A vector of numbers, empty if it is absent; not to be written to."""
        kind = np.dtype(dtype).newbyteorder("<")
        start, count = self._vector(field, kind.itemsize)
        return np.frombuffer(self._content, kind, count, start)

    @property
    def position(self) -> int:
        """Where it begins in the file."""
        return self._position

    def has(self, field: int) -> bool:
        """Whether a field is there."""
        return self._field(field) is not None

    def _field(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._length:
            return None
        distance = _read("<H", self._content, self._vtable + entry)
        return self._position + distance if distance else None

    def _target(self, field: int) -> int | None:
        position = self._field(field)
        if position is None:
            return None
        return position + _read("<I", self._content, position)

    def _vector(self, field: int, itemsize: int) -> tuple[int, int]:
        """(position of the first item, number of items)."""
        position = self._target(field)
        if position is None:
            return 0, 0
        count = _read("<I", self._content, position)
        _check(self._content, position + 4, count * itemsize)
        return position + 4, count


def _text(content: bytes, position: int) -> str:
    length = _read("<I", content, position)
    _check(content, position + 4, length + 1)  # a zero ends it
    return bytes(content[position + 4 : position + 4 + length]).decode("utf-8", "replace")


def _read(kind: str, content: bytes, position: int) -> int:
    _check(content, position, struct.calcsize(kind))
    return struct.unpack_from(kind, content, position)[0]


def _check(content: bytes, start: int, length: int) -> None:
    if start < 0 or length < 0 or start + length > len(content):
        raise FlatbufferError(f"{length} bytes at {start}, of {len(content)}")
