"""All-or-nothing output: an output file or directory is either complete or does not exist."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from levit_common.hub_addresses import advice_on_hub

# Disk errors that prevent writing to a file that could be opened.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike,
    overwrite: bool = False,
    made_of: Sequence[str] = (),
    reads: Iterable[str | os.PathLike] = (),
) -> Iterator[str]:
    """Yields a temporary path that is renamed to `path` if the block succeeds, and else removed.

    Works for files and directories: the block creates whichever it needs. The temporary path is in
    the same folder and has the same suffix, since Keras chooses a format by the suffix.

    Args:
      path: path of the output; its folder is created.
      overwrite: whether an existing `path` may be replaced.
      made_of: see `check_new`.
      reads: see `check_new`.

    Yields:
      The path to write to; nothing exists there yet.

    Raises:
      FileExistsError: `path` exists and may not be replaced, raised before the block runs, or
        after it if `path` has changed meanwhile.
      OSError: the folder cannot be created or written to.
    """
    path = os.path.abspath(os.fspath(path))
    check_new(path, overwrite, made_of, reads)
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder, exist_ok=True)
        temporary_directory = tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.")
    except OSError as error:
        raise OSError(f"{path}: its folder cannot be written to ({error.strerror}).") from error
    with temporary_directory as scratch:
        temporary = os.path.join(scratch, name)
        with naming(path):
            yield temporary
        _check_replaceable(path, made_of, reads)
        if os.path.isfile(temporary):
            # Some writers make their files private; give the output the usual permissions.
            os.chmod(temporary, 0o666 & ~_umask())
        if os.path.isdir(path):  # a directory with content cannot be replaced by renaming
            os.rename(path, os.path.join(scratch, "replaced"))
        os.replace(temporary, path)


def check_new(
    path: str | os.PathLike,
    overwrite: bool = False,
    made_of: Sequence[str] = (),
    reads: Iterable[str | os.PathLike] = (),
) -> None:
    """Raises FileExistsError if an output exists and may not be replaced.

    Args:
      path: path of the output.
      overwrite: whether it may be replaced. A directory is replaced only if it is empty or was
        written by the same command: replacing it deletes everything in it.
      made_of: for a directory, names of files that all directories of its kind contain; empty for
        a file.
      reads: files from which the output is made.
    """
    path = os.path.abspath(os.fspath(path))
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} exists already; --overwrite replaces it.")
    _check_replaceable(path, made_of, reads)


def _check_replaceable(
    path: str, made_of: Sequence[str], reads: Iterable[str | os.PathLike]
) -> None:
    if not os.path.isdir(path):
        if os.path.exists(path) and made_of:
            raise FileExistsError(f"{path} is a file, which is not what would replace it.")
        return
    if not made_of:
        raise FileExistsError(f"{path} is a directory, which is not what would replace it.")
    missing = [name for name in made_of if not os.path.exists(os.path.join(path, name))]
    inside = [one for one in reads if _contains(path, one)]
    if _contains(path, os.curdir):
        reason = "this command runs in it"
    elif inside:
        reason = f"it contains {os.fspath(inside[0])}, which is read"
    elif missing and os.listdir(path):
        reason = f"it contains other files, and no {missing[0]}"
    else:
        return
    raise FileExistsError(f"{path}: --overwrite does not delete this folder: {reason}.")


def _contains(folder: str, path: str | os.PathLike) -> bool:
    """Returns whether a path is a folder or lies in it, links followed."""
    return Path(path).resolve().is_relative_to(Path(folder).resolve())


def check_suffix(path: str | os.PathLike, *suffixes: str) -> None:
    """Raises ValueError if the name of an output does not end in one of `suffixes`."""
    if os.path.splitext(path)[1] not in suffixes:
        raise ValueError(
            f"--output: expected a file name ending in {', '.join(suffixes)}. Received: "
            f"{os.fspath(path)!r}"
        )


def check_exists(path: str | os.PathLike, expected: str) -> None:
    """Raises FileNotFoundError if there is no such file.

    Args:
      path: path that a user gave.
      expected: description of the expected file, for the error message.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{os.fspath(path)}: no such file. Expected {expected}.{advice_on_hub(path)}"
        )


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Adds the file name to errors of a full or failing disk.

    Args:
      path: the file that the block writes.

    Raises:
      OSError: the disk error with the name of the file.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        reason = os.strerror(error.errno)
        raise OSError(f"{path}: cannot be written: {reason}.") from error


def size_of(path: str | os.PathLike) -> int:
    """Returns the size in bytes of a file, or of all files in a directory."""
    path = Path(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _umask() -> int:
    """Returns the file mode creation mask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
