"""Files that can be read to their end: a FIFO or a device blocks who opens it, or never ends."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_FILES = 10_000  # of a version; links could lead anywhere
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def check_file(path: str | os.PathLike) -> None:
    """Checks that a path, links followed, is a regular file.

    Raises:
      OSError: it is not, or cannot be looked at; the message names it.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(f"{path}: cannot be read: it is {kind}, and a regular file is needed.")


def check_version(folder: Path) -> None:
    """Checks that all files of a version are regular ones.

    Raises:
      OSError: one is not, or there are too many; the message names the first.
    """
    for count, path in enumerate(_files(folder)):
        if count >= _MOST_FILES:
            raise OSError(f"{folder}: cannot be read: there are more than {_MOST_FILES} files.")
        check_file(path)


def _files(folder: Path) -> Iterator[str]:
    for where, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (os.path.join(where, name) for name in sorted(names))
