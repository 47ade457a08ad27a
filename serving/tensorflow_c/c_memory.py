"""Returns the pages of TensorFlow's free memory to the operating system.

With oneDNN, TensorFlow keeps every large block that it ever allocated: after one request that took
gigabytes, the process keeps them, and no call gives them back. But the free memory can be
allocated: blocks are allocated until it is used up, the system is told that their pages are not
needed, and the blocks are freed again. TensorFlow keeps the addresses, but not the memory behind
them.
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
    """Returns the pages of free memory that TensorFlow keeps.

    Args:
      most_bytes: largest amount of memory to go through; TensorFlow never keeps more than the peak
        of the process.

    Returns:
      The number of bytes returned; 0 if the system is not Linux.
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
