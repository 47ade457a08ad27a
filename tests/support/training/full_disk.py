"""A disk that is full after so many bytes of a file, for this process."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Makes writes beyond a file's first bytes fail half-way, as they do on a full disk.

    Python ignores the signal that comes with it, so that the write is an OSError.

    Args:
      size: bytes that every file may have.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
