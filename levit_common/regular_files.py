"""Checks that files are regular and of limited size: devices and pipes may block or never end."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

# Largest possible size of protocol buffers.
MAX_PROTOBUF_BYTES = 2**31 - 1
_MAX_FILES = 10_000  # largest number of files in the folder of one model


class ModelFileError(ValueError):
    """A model cannot be loaded. The message names the file and what was expected."""


def first_line(error: Exception) -> str:
    """Returns type and first informative line of an error, for a message of one line."""
    lines = str(error).strip().splitlines() or [""]
    if lines[0] == "Graph execution error:":  # TensorFlow's heading before the actual error
        lines = [line for line in lines if "assertion failed" in line] or lines
    return f"({type(error).__name__}: {lines[0]})"


def check_regular(path: str | os.PathLike, limit: int | None = None) -> int:
    """Checks that a path is a regular file, or a symbolic link to one.

    Args:
      path: the file.
      limit: largest allowed size in bytes; None for no limit.

    Returns:
      Its size in bytes.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is not a regular file, or it is too large.
    """
    path = os.fspath(path)
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file.") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}).") from error
    if not stat.S_ISREG(found.st_mode):
        raise ModelFileError(f"{path}: expected a regular file. Found: {_kind(found.st_mode)}")
    if limit is not None and found.st_size > limit:
        raise ModelFileError(f"{path}: {found.st_size:,} bytes; at most {limit:,} are read.")
    return found.st_size


def check_regular_tree(folder: str | os.PathLike) -> None:
    """Checks that a folder contains only regular files and folders, and not too many.

    Raises:
      ModelFileError: it contains something else, or too many files.
    """
    for count, path in enumerate(_files(os.fspath(folder))):
        if count == _MAX_FILES:
            raise ModelFileError(f"{folder}: more than {_MAX_FILES:,} files, so no model.")
        try:
            check_regular(path)
        except FileNotFoundError as error:
            raise ModelFileError(f"{path}: a link to a file that is not there.") from error


def _files(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder, followlinks=True):  # cyclic links: too many files
        yield from (os.path.join(parent, name) for name in names)


def _kind(mode: int) -> str:
    kinds = {
        "a folder": stat.S_ISDIR,
        "a pipe": stat.S_ISFIFO,
        "a device": stat.S_ISCHR,
        "a block device": stat.S_ISBLK,
        "a socket": stat.S_ISSOCK,
    }
    return next((name for name, test in kinds.items() if test(mode)), "something else")
