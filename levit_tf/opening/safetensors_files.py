"""Checks the header of `.safetensors` files before the library reads them.

The library's numpy interface supports fewer data types than the format.
"""

from __future__ import annotations

import json
import os
from typing import Any

from levit_common.regular_files import ModelFileError, check_regular

# Number of bits of each data type that numpy supports (BF16 with ml_dtypes).
_TYPES = {
    **{name: 8 for name in ("BOOL", "I8", "U8")},
    **{name: 16 for name in ("I16", "U16", "F16", "BF16")},
    **{name: 32 for name in ("I32", "U32", "F32")},
    **{name: 64 for name in ("I64", "U64", "F64")},
}
_MAX_HEADER_BYTES = 16 << 20  # LeViT-384's header has 0.1 MB; the format allows 100 MB
_METADATA = "__metadata__"


def check_safetensors_file(path: str | os.PathLike) -> None:
    """Checks a safetensors file by its header.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: the header is damaged, or a tensor has an unsupported type or a number of
        bytes that does not match its shape.
    """
    path = os.fspath(path)
    size = check_regular(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise ModelFileError(_damaged(path, size, f"a header of {length:,} bytes"))
        content = file.read(length)
    try:
        header = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(_damaged(path, size, "a header that is no JSON")) from error
    if not isinstance(header, dict):
        raise ModelFileError(_damaged(path, size, "a header that is no JSON object"))
    for name, entry in header.items():
        if name != _METADATA:
            _check_tensor(path, size, name, entry)


def _check_tensor(path: str, size: int, name: str, entry: Any) -> None:
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    if isinstance(dtype, str) and dtype not in _TYPES:
        raise ModelFileError(
            f"{path}: {name} is of type {dtype}, which is not known here; known are "
            f"{', '.join(_TYPES)}. Save the weights as F32."
        )
    try:
        shape, (begin, end) = entry["shape"], entry["data_offsets"]
        bits = _TYPES[dtype]
        for length in shape:
            bits *= _count(length)
        fits = 8 * (_count(end) - _count(begin)) == bits
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(_damaged(path, size, f"no description of {name}")) from error
    if not fits:
        raise ModelFileError(_damaged(path, size, f"{name} of shape {shape} in other bytes"))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def _damaged(path: str, size: int, reason: str) -> str:
    return (
        f"{path}: truncated or damaged safetensors of {size} bytes ({reason}). Fetch or copy the "
        "file again."
    )
