"""Reads the tables of a flatbuffer and checks every offset; the library itself does not check.

See https://flatbuffers.dev/internals: a table begins with the distance back to its vtable, which
stores the offset of each field from the beginning of the table; 0 means that the field is absent.
"""

from __future__ import annotations

import struct

import numpy as np


class FlatbufferError(ValueError):
    """An offset, a length or an index points outside the file."""


class Table:
    """A table; its fields are identified by their number in the schema."""

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
        """Returns the outermost table."""
        return cls(content, _read("<I", content, 0))

    def number(self, field: int, kind: str, otherwise: int = 0) -> int:
        """Returns a number field; `kind` is a format character of `struct`."""
        position = self._field(field)
        return otherwise if position is None else _read(f"<{kind}", self._content, position)

    def table(self, field: int) -> Table | None:
        """Returns a table field; None if it is absent."""
        position = self._target(field)
        return None if position is None else Table(self._content, position)

    def tables(self, field: int) -> list[Table]:
        """Returns a vector of tables; empty if it is absent."""
        start, count = self._vector(field, 4)
        return [
            Table(self._content, at + _read("<I", self._content, at))
            for at in range(start, start + 4 * count, 4)
        ]

    def text(self, field: int) -> str | None:
        """Returns a string field; None if it is absent."""
        position = self._target(field)
        return None if position is None else _text(self._content, position)

    def array(self, field: int, dtype: str) -> np.ndarray:
        """Returns a read-only vector of numbers; empty if it is absent."""
        kind = np.dtype(dtype).newbyteorder("<")
        start, count = self._vector(field, kind.itemsize)
        return np.frombuffer(self._content, kind, count, start)

    @property
    def position(self) -> int:
        """Position of the table in the file."""
        return self._position

    def has(self, field: int) -> bool:
        """Returns whether a field is present."""
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
        """Returns (position of the first item, number of items)."""
        position = self._target(field)
        if position is None:
            return 0, 0
        count = _read("<I", self._content, position)
        _check(self._content, position + 4, count * itemsize)
        return position + 4, count


def _text(content: bytes, position: int) -> str:
    length = _read("<I", content, position)
    _check(content, position + 4, length + 1)  # including the terminating zero
    return bytes(content[position + 4 : position + 4 + length]).decode("utf-8", "replace")


def _read(kind: str, content: bytes, position: int) -> int:
    _check(content, position, struct.calcsize(kind))
    return struct.unpack_from(kind, content, position)[0]


def _check(content: bytes, start: int, length: int) -> None:
    if start < 0 or length < 0 or start + length > len(content):
        raise FlatbufferError(f"{length} bytes at {start}, of {len(content)}")
