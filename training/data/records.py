"""Random access to TFRecord files, the format in which TensorFlow Datasets prepares by default.

The headers of all records are read once, to know where each begins. That takes a few seconds for
a million records on a local SSD, and reads them singly after that, as ArrayRecord does. On a disk
that has to move an arm, or in a bucket, both are slow; `tfds build --file_format=array_record`
saves the first of them, and a copy on a local SSD both.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

_THREADS = 16
# A record: its length as uint64, a checksum of that, the record, a checksum of it.
_LENGTH = struct.Struct("<Q")
_CHECKSUM = 4


class TfRecords:
    """The records of a split.

    Attributes:
      positions: (start, length) of each in its file, bytes: (n, 2) int64.

    Args:
      instructions: `tensorflow_datasets` file instructions: `filename`, the first record `skip`,
        their number `take`, and `examples_in_shard`, the number of all in the file.

    Raises:
      ValueError: a file is damaged, or holds another number of records.
      OSError: a file cannot be read.
    """

    def __init__(self, instructions: Sequence[Any]):
        self._files = [str(instruction.filename) for instruction in instructions]
        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(_positions, instructions))
        self._file_of = np.repeat(np.arange(len(found)), [len(positions) for positions in found])
        self.positions = np.concatenate([np.zeros((0, 2), np.int64), *found])

    def __len__(self) -> int:
        return len(self.positions)

    def __getitems__(self, indices: Sequence[int]) -> list[bytes]:
        """The records of indices: the interface of the data sources of TensorFlow Datasets."""
        return [self._read(index) for index in indices]

    def _read(self, index: int) -> bytes:
        start, length = self.positions[index].tolist()
        path = self._files[self._file_of[index]]
        with _open(path) as file:
            file.seek(start)
            record = file.read(length)
        if len(record) != length:
            raise ValueError(f"{path}: has become shorter while it was in use.")
        return record


def _positions(instruction: Any) -> np.ndarray:
    """(start, length) of the records that an instruction asks for: (n, 2) int64."""
    path = str(instruction.filename)
    positions = []
    with _open(path) as file:
        end = file.seek(0, 2) if _is_local(path) else tf.io.gfile.stat(path).length
        start = 0
        while start < end:
            file.seek(start)
            header = file.read(_LENGTH.size)
            length = _LENGTH.unpack(header)[0] if len(header) == _LENGTH.size else end
            start += _LENGTH.size + _CHECKSUM
            positions.append((start, length))
            start += length + _CHECKSUM
    if start != end or len(positions) != instruction.examples_in_shard:
        raise ValueError(
            f"{path}: damaged, or not all there; expected {instruction.examples_in_shard} records. "
            f"Found: {len(positions)}"
        )
    positions = positions[instruction.skip : instruction.skip + instruction.take]
    return np.array(positions, np.int64).reshape(-1, 2)


def _is_local(path: str) -> bool:
    return "://" not in path


def _open(path: str):
    # Unbuffered: a buffer would be filled behind every header, and so read the whole file.
    return open(path, "rb", buffering=0) if _is_local(path) else tf.io.gfile.GFile(path, "rb")
