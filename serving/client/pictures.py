"""Reads the contents of picture files, which are sent unchanged."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from serving.picture_sizes import pixels

# Limits of one request. A server with batching refuses more pictures than its largest batch, which
# is 16 with the parameters that serving.export writes; every server limits the bytes; and the
# models that serving.export writes limit the pixels (`serving.export.picture_headers`).
BATCH_PICTURES = 16
BATCH_BYTES = 32 * 2**20
BATCH_PIXELS = 200_000_000


def read_picture(source: bytes | str | os.PathLike) -> bytes:
    """Reads the content of a picture file. The server decides whether it is a picture.

    Args:
      source: a path, or the content itself.

    Raises:
      ValueError: the file does not exist, cannot be read or is empty; the message names it.
      TypeError: `source` is of another type, such as an array.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        content, name = bytes(source), "image bytes"
    elif isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise ValueError(f"{name}: cannot be read: {error.strerror}.") from error
    else:
        raise TypeError(
            "classify takes paths or contents of picture files; predict takes arrays. "
            f"Received: {type(source).__name__}"
        )
    if not content:
        raise ValueError(f"{name}: empty (0 bytes).")
    return content


def batches(sources: Sequence[bytes | str | os.PathLike]) -> Iterator[list[bytes]]:
    """Yields lists of contents of pictures, as many as fit into one request.

    Raises:
      ValueError: see `read_picture`.
      TypeError: see `read_picture`; also if `sources` is one picture instead of a sequence.
    """
    if isinstance(sources, (str, bytes, bytearray, memoryview, os.PathLike)):
        raise TypeError("classify takes a sequence of pictures. Received: one; write [picture].")
    batch: list[bytes] = []
    size = area = 0
    for source in sources:
        content = read_picture(source)
        size, area = size + len(content), area + pixels(content)
        is_full = len(batch) == BATCH_PICTURES or size > BATCH_BYTES or area > BATCH_PIXELS
        if batch and is_full:
            yield batch
            batch, size, area = [], len(content), pixels(content)
        batch.append(content)
    if batch:
        yield batch
