"""Pages of TensorFlow's free memory, handed back to the operating system.

With oneDNN, TensorFlow keeps every large block that it ever had for later: after one request that
took gigabytes, the process has them for good. There is no call to give them back. But what is free
can be had: blocks are allocated until that memory is used up, the system is told that their pages
hold nothing, and they are freed again. The addresses stay TensorFlow's, the memory behind them does
not.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from types import SimpleNamespace

from tensorflow.core.framework import types_pb2

from serving.tensorflow_c.c_library import library

_BLOCK_BYTES = 2**20
_NOT_NEEDED = 4  # MADV_DONTNEED of Linux


def give_back_pages(most_bytes: int) -> int:
    """Gives back the pages of free memory that TensorFlow keeps.

    Args:
      most_bytes: how much of its memory is looked at; what it keeps is never more than the process
        had at its largest.

    Returns:
      The bytes given back; 0 where the system is not Linux.
    """
    if not sys.platform.startswith("linux"):
        return 0
    lib, system, page = library(), _system(), mmap.PAGESIZE
    dims = (ctypes.c_int64 * 1)(_BLOCK_BYTES)
    residents = ctypes.create_string_buffer(_BLOCK_BYTES // page)
    blocks, given = [], 0
    try:
        for _ in range(most_bytes // _BLOCK_BYTES):
            block = lib.TF_AllocateTensor(types_pb2.DT_UINT8, dims, 1, _BLOCK_BYTES)
            blocks.append(block)
            address = lib.TF_TensorData(block)
            start, end = -(-address // page) * page, (address + _BLOCK_BYTES) // page * page
            pages = (end - start) // page
            if system.mincore(start, end - start, residents):
                break
            given += sum(byte & 1 for byte in residents.raw[:pages]) * page
            if system.madvise(start, end - start, _NOT_NEEDED):
                break
    finally:
        for block in blocks:
            lib.TF_DeleteTensor(block)
    return given


@functools.cache
def _system() -> SimpleNamespace:
    c_library = ctypes.CDLL(None)
    c_library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    c_library.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    return SimpleNamespace(madvise=c_library.madvise, mincore=c_library.mincore)
