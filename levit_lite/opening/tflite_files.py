"""Checks of `.tflite` files that LiteRT omits: it follows invalid indices and crashes.

The numbers of fields and operations are those of TensorFlow Lite's schema, where they never change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from levit_common.regular_files import MAX_PROTOBUF_BYTES, ModelFileError, check_regular
from levit_lite.opening.flatbuffers import FlatbufferError, Table

MAX_TENSOR_BYTES = 2 << 30  # limit of one tensor
MAX_ALL_BYTES = 32 << 30  # limit of all tensors; LeViT-384 has 0.1 GB per picture of a batch
_MAX_GRAPHS = 200  # a network with loops has a few
_IDENTIFIER = b"TFL3"
_CUSTOM, _DELEGATE, _STABLEHLO_CUSTOM_CALL = 32, 51, 173
_STRING = 5
# Bits per value for each TensorType; None if the size varies.
_BITS = (32, 16, 32, 8, 64, None, 8, 16, 64, 8, 64, 128, 64, None, None, 32, 16, 4, 16, 2, 4, 8, 8)
# Operation -> first operand that is optional, such as a bias or operands of recurrent networks.
_OPTIONAL_FROM = {3: 2, 4: 2, 9: 2, 67: 3, 132: 2, 141: 3, 16: 1, 27: 4, 44: 1, 46: 1, 52: 1}
# Options that kernels divide by without checking them.
_POSITIVE = ("stride", "dilation", "filter", "blockSize", "numSplits")


def check_tflite_file(path: str | os.PathLike) -> None:
    """Checks a TFLite file before LiteRT reads it.

    Args:
      path: the file.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is damaged, has operations that are not built into TensorFlow Lite, has an
        empty input, or needs more memory than any plausible network.
      ImportError: LiteRT is not installed.
    """
    check_regular(path, MAX_PROTOBUF_BYTES)
    content = Path(path).read_bytes()
    try:
        if content[4:8] != _IDENTIFIER:
            raise FlatbufferError(
                f"no {_IDENTIFIER.decode()} at its beginning; python -m converters.to_tflite makes "
                "such a file of a .keras one"
            )
        _Model(content).check()
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except FlatbufferError as error:
        raise ModelFileError(
            f"{path}: cannot be loaded as a TFLite file; truncated, or another kind of file? "
            f"({error})"
        ) from error


class _Tensor(NamedTuple):
    """Properties of a tensor; `stored` is true for constants in the file."""

    name: str
    stored: bool
    is_variable: bool
    shape: Sequence[int]


class _Model:
    """Parts of the file. Methods raise FlatbufferError for damage, else ModelFileError."""

    def __init__(self, content: bytes):
        self._content = content
        root = Table.root(content)
        self._buffers = [self._size(buffer) for buffer in root.tables(4)]
        self._codes = [self._code(code) for code in root.tables(1)]
        self._subgraphs = root.tables(2)
        self._signatures = root.tables(7)
        self._metadata = root.tables(6)
        if root.has(8) or root.has(9):
            raise ModelFileError("its constants are in another file, which is not read.")
        if not 0 < len(self._subgraphs) <= _MAX_GRAPHS:
            raise FlatbufferError(f"{len(self._subgraphs)} graphs")
        self._bytes = 0
        # A table and the reference to it take 8 bytes, so more tables than this must be shared.
        self._left = len(content) // 8

    def check(self) -> None:
        """Checks all parts of the file."""
        calls = {}
        tensors = []
        for number, subgraph in enumerate(self._subgraphs):
            found = [self._tensor(tensor) for tensor in subgraph.tables(0)]
            tensors.append(found)
            calls[number] = self._check_subgraph(subgraph, found)
        _check_acyclic(calls, len(self._subgraphs))
        for signature in self._signatures:
            index = signature.number(4, "I")
            if index >= len(self._subgraphs):
                raise FlatbufferError(f"a signature of graph {index} of {len(self._subgraphs)}")
            signature.text(2)
            for entry in (*signature.tables(0), *signature.tables(1)):
                _check_index(entry.number(1, "I"), len(tensors[index]), "a signature's tensor")
                if entry.text(0) is None:
                    raise FlatbufferError("a tensor without a name in a signature")
        for metadata in self._metadata:
            metadata.text(0)
            _check_index(metadata.number(1, "I"), len(self._buffers), "metadata's buffer")

    def _size(self, buffer: Table) -> int:
        inside = len(buffer.array(0, "u1"))
        offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
        if offset > 1 and offset + size > len(self._content):
            raise FlatbufferError("a constant beyond the end")
        return size if offset > 1 else inside

    def _code(self, code: Table) -> int:
        # Old files have only the first field, whose largest value is 127.
        found = max(code.number(0, "b"), code.number(3, "i"))
        custom = code.text(1)
        if found in (_CUSTOM, _STABLEHLO_CUSTOM_CALL) or custom:
            raise ModelFileError(
                f"has the operation {custom or 'CUSTOM'!r}, which is not one of TensorFlow Lite's "
                "own; those that begin with Flex need TensorFlow. Convert the model with built-in "
                "operations only."
            )
        if found < 0 or found == _DELEGATE:
            raise FlatbufferError(f"operation {found}")
        return found

    def _tensor(self, tensor: Table) -> _Tensor:
        shape = [int(length) for length in tensor.array(0, "i4")]
        kind, buffer = tensor.number(1, "b"), tensor.number(2, "I")
        name = tensor.text(3) or "?"
        signature = tensor.array(7, "i4")
        _check_index(buffer, len(self._buffers), "a tensor's buffer")
        _check_index(kind, len(_BITS), "a tensor's type")
        if tensor.has(6):
            raise ModelFileError(f"its tensor {name!r} is sparse; expected dense ones.")
        if min(shape, default=0) < 0 or (len(signature) and len(signature) != len(shape)):
            raise FlatbufferError(f"tensor {name!r} of shape {shape}")
        values = 1
        for length in shape:
            values *= length
        size = (values * (_BITS[kind] or 64) + 7) // 8
        stored = self._buffers[buffer]
        if stored and (kind == _STRING or size > stored):
            raise FlatbufferError(f"constant {name!r} of shape {shape} in {stored} bytes")
        self._bytes += 0 if stored else size
        if size > MAX_TENSOR_BYTES or self._bytes > MAX_ALL_BYTES:
            raise ModelFileError(f"its tensors need too much memory: {name!r}, shape {shape}.")
        self._check_quantization(tensor.table(4), shape, name)
        return _Tensor(name, bool(stored), bool(tensor.number(5, "B")), shape)

    def _check_quantization(self, found: Table | None, shape: Sequence[int], name: str) -> None:
        if found is None:
            return
        for field in (0, 1):
            found.array(field, "f4")
        scales, zeros = found.array(2, "f4"), found.array(3, "i8")
        axis = found.number(6, "i")
        fits = len(scales) <= 1 or (0 <= axis < len(shape) and len(scales) == shape[axis])
        if not fits or len(zeros) not in (0, 1, len(scales)) or not np.isfinite(scales).all():
            raise FlatbufferError(f"the quantisation of {name!r}")
        if found.has(5):
            raise ModelFileError(
                f"its tensor {name!r} has custom quantisation, which is not supported."
            )

    def _check_subgraph(self, subgraph: Table, tensors: Sequence[_Tensor]) -> list[int]:
        """Checks a graph, and returns the graphs that it calls."""
        operators = subgraph.tables(3)
        self._left -= len(tensors) + len(operators)
        if self._left < 0:
            raise FlatbufferError("tables that are used twice")
        inputs, outputs = (self._indices(subgraph, field, tensors) for field in (1, 2))
        for index in inputs:
            if 0 in tensors[index].shape:
                raise ModelFileError(
                    f"its input {tensors[index].name!r} is empty: shape {tensors[index].shape}."
                )
        # One-dimensional tensors may be empty: an empty list is the shape of a scalar.
        empty = [tensor for tensor in tensors if 0 in tensor.shape and len(tensor.shape) > 1]
        if empty:
            raise ModelFileError(f"its tensor {empty[0].name!r} is empty: shape {empty[0].shape}.")
        known = {n for n, tensor in enumerate(tensors) if tensor.stored or tensor.is_variable}
        fixed = {n for n, tensor in enumerate(tensors) if tensor.stored}
        known |= set(inputs)
        called = []
        for operator in operators:
            code = operator.number(0, "I")
            _check_index(code, len(self._codes), "an operation's code")
            code = self._codes[code]
            optional = _OPTIONAL_FROM.get(code)
            read = self._indices(operator, 1, tensors, optional)
            written = self._indices(operator, 2, tensors)
            self._indices(operator, 8, tensors, 0)
            if not known.issuperset(read):
                raise FlatbufferError("an operation reads what nothing wrote before")
            if fixed.intersection(written) or set(inputs).intersection(written):
                raise FlatbufferError("an operation writes to a constant or an input")
            known.update(written)
            called += self._check_options(operator)
        if not known.issuperset(outputs):
            raise FlatbufferError("an output that nothing writes")
        return called

    def _indices(
        self, table: Table, field: int, tensors: Sequence[_Tensor], optional: int | None = None
    ) -> list[int]:
        """Returns the indices of tensors, without omitted optional ones."""
        found = [int(index) for index in table.array(field, "i4")]
        for position, index in enumerate(found):
            if index == -1 and optional is not None and position >= optional:
                continue
            _check_index(index, len(tensors), "a tensor's number")
        return [index for index in found if index >= 0]

    def _check_options(self, operator: Table) -> Iterator[int]:
        """Checks the options of an operation, and yields the graphs that it calls."""
        unions = ((3, 4, "BuiltinOptionsCreator"), (11, 12, "BuiltinOptions2Creator"))
        for kind, field, creator in unions:
            table = operator.table(field)
            if table is None:
                continue
            options = _options(creator, operator.number(kind, "B"), self._content, table.position)
            for name, value in vars(options).items() if options is not None else ():
                if name.startswith(_POSITIVE) and np.min(value, initial=1) < 1:
                    raise FlatbufferError(f"an operation with {name} {value}")
                if "ubgraph" in name and value is not None:
                    yield from map(int, np.atleast_1d(value))


def _options(creator: str, kind: int, content: bytes, position: int) -> Any:
    """Returns the options of an operation, parsed by LiteRT's schema; None if it has none."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    table = flatbuffers.table.Table(content, position)
    try:
        return getattr(schema, creator)(kind, table)
    except Exception as error:  # Invalid offsets can raise many types of errors.
        raise FlatbufferError("the options of an operation") from error


def _check_index(index: int, count: int, what: str) -> None:
    if not 0 <= index < count:
        raise FlatbufferError(f"{what}: {index} of {count}")


def _check_acyclic(calls: dict[int, Iterable[int]], count: int) -> None:
    """Refuses graphs that call themselves, which would overflow the stack."""
    finished, under_way = set(), set()

    def visit(number):
        if number in under_way:
            raise FlatbufferError("a graph that calls itself")
        if number in finished:
            return
        under_way.add(number)
        for called in calls[number]:
            _check_index(called, count, "a graph that is called")
            visit(called)
        under_way.remove(number)
        finished.add(number)

    for number in calls:
        visit(number)
