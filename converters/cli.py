"""What the command-line tools share: a user's error in one line, sizes, all-or-nothing output."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator

# What a user can put right: a wrong file, a wrong value, a missing optional dependency. Everything
# else is a defect of this code and keeps its traceback.
_USER_ERRORS = (ValueError, OSError, ImportError)


def run(main: Callable[[list[str]], None]) -> None:
    """Runs `main` under absl; a user's error becomes `error: ...` on stderr and exit code 1.

    Misused flags are reported by absl itself, also with exit code 1.

    Args:
      main: takes the positional arguments that absl leaves over, the program's name first.
    """
    from absl import app, flags, logging

    def guarded(argv: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # libraries report their progress as INFO
        try:
            if len(argv) > 1:
                raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
            main(argv)
        except _USER_ERRORS as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    app.run(guarded)


def parse_size(text: str) -> tuple[int, int]:
    """Parses "224" (a square) or "224x320" (height x width).

    Returns:
      (height, width).

    Raises:
      ValueError: `text` is neither.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if height < 1 or width < 1:
        raise ValueError(
            f"A size is HEIGHTxWIDTH or one positive number, such as 224x320 or 224. "
            f"Received: {text!r}"
        )
    return height, width


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, overwrite: bool = False) -> Iterator[str]:
    """A temporary path that becomes `path` if the block succeeds, and vanishes if it does not.

    Works for a file and for a directory alike: the block creates whichever it needs. The temporary
    path lies in the same folder and ends in the same suffix, since Keras chooses a format by it.

    Args:
      path: where the output goes; its folder is created.
      overwrite: whether an existing `path` may be replaced.

    Yields:
      The path to write to; nothing exists there yet.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false, raised before the block runs; or it
        is a directory where the block wrote a file, or the other way round.
      OSError: the folder cannot be made or written to.
    """
    path = os.path.abspath(os.fspath(path))
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} exists already; --overwrite replaces it.")
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder, exist_ok=True)
        temporary_directory = tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.")
    except OSError as error:
        raise OSError(f"{path}: its folder cannot be written to ({error.strerror}).") from error
    with temporary_directory as scratch:
        temporary = os.path.join(scratch, name)
        yield temporary
        if os.path.exists(path) and os.path.isdir(path) != os.path.isdir(temporary):
            kind = "directory" if os.path.isdir(path) else "file"
            raise FileExistsError(f"{path} is a {kind}, which is not what would replace it.")
        if os.path.isfile(temporary):
            # Some writers make their files private; the output is as readable as any other file.
            os.chmod(temporary, 0o666 & ~_umask())
        if os.path.isdir(path):  # cannot be renamed onto: it has content
            os.rename(path, os.path.join(scratch, "replaced"))
        os.replace(temporary, path)


def _umask() -> int:
    """The process' file mode creation mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
