"""Random access to TFRecord files, the default format of TensorFlow Datasets.

The headers of all records are read once, to find where each begins. This takes a few seconds for a
million records on a local SSD. After that, single records are read, as ArrayRecord does. Both are
slow on a hard disk or in a bucket: `tfds build --file_format=array_record` avoids reading the
headers, and a copy on a local SSD makes both fast.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

_THREADS = 16
# A record: its length as uint64, a checksum of the length, the data, a checksum of the data.
_LENGTH = struct.Struct("<Q")
_CHECKSUM = 4


class TfRecords:
    """The records of a split.

    Attributes:
      positions: (n, 2) int64, (start, length) of each record in its file, bytes.

    Args:
      instructions: `tensorflow_datasets` file instructions, with `filename`, the number of records
        to `skip` and to `take`, and `examples_in_shard`, the total number in the file.

    Raises:
      ValueError: a file is damaged, or has an unexpected number of records.
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
        """Returns the records of some indices, as data sources of TensorFlow Datasets do."""
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
    """Finds (start, length) of the records of an instruction: (n, 2) int64."""
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
    # Unbuffered: a buffer would read ahead after every header, and so read the whole file.
    return open(path, "rb", buffering=0) if _is_local(path) else tf.io.gfile.GFile(path, "rb")
