"""The manifest of a checkpoint: the length and checksum of each file, to tell whether it is intact.

`ckpt-12.json` lies beside `ckpt-12.index` and `ckpt-12.data-*`. It is written last, once those
files are on the disk, so a checkpoint with a manifest was completed. It has a checksum of its own,
so that damage to the manifest is not taken for damage to the checkpoint. It also holds notes: other
values that a run resumes with.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from levit_common.json_files import write_json
from levit_common.regular_files import ModelFileError, check_regular

SUFFIX = ".json"
_PREFIX = "ckpt-"
# The files of a checkpoint, its manifest, and the temporary folder where TensorFlow collects parts.
_FILE = re.compile(rf"({_PREFIX}(\d+))\.(index|data-\d+-of-\d+|json)")
_TEMPORARY = re.compile(rf"{_PREFIX}\d+_temp")


class DamagedError(Exception):
    """A checkpoint or its manifest is damaged; the message says what is wrong."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The manifest of a checkpoint.

    Attributes:
      files: the length ("bytes") and the checksum ("sha256") of each file, by file name.
      notes: the notes that the run saved with the checkpoint.
    """

    files: dict[str, dict[str, Any]]
    notes: dict[str, Any]


def prefix_of(folder: Path, step: int) -> Path:
    """Returns the common prefix of a checkpoint's files."""
    return folder / f"{_PREFIX}{step}"


def steps(folder: Path) -> list[int]:
    """Lists the steps of which a folder has any checkpoint file, newest first."""
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(
        {int(found[2]) for name in names if (found := _FILE.fullmatch(name))}, reverse=True
    )


def files(prefix: Path) -> list[Path]:
    """Lists the existing files of a checkpoint, without its manifest, sorted by name."""
    names = os.listdir(prefix.parent)
    matches = filter(None, map(_FILE.fullmatch, names))
    return sorted(
        prefix.parent / found[0]
        for found in matches
        if found[1] == prefix.name and found[3] != SUFFIX[1:]
    )


def write(prefix: Path, notes: dict[str, Any]) -> None:
    """Flushes the files of a new checkpoint to the disk, then writes its manifest.

    Args:
      prefix: prefix of the checkpoint's files.
      notes: values to keep with it; must be JSON-serialisable.

    Raises:
      OSError: a file cannot be read or written.
    """
    found = {path.name: measure(path, flush=True) for path in files(prefix)}
    _flush(prefix.parent)
    content = {"files": found, "notes": notes}
    content = {"checksum": _checksum(content), **content}
    write_json(_path(prefix), content, durable=True)
    _flush(prefix.parent)


def read(prefix: Path) -> Manifest | None:
    """Reads the manifest of a checkpoint; returns None if there is none.

    Raises:
      DamagedError: it cannot be read or is damaged.
    """
    path = _path(prefix)
    try:
        check_regular(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
        if checksum != _checksum(content):
            raise DamagedError(f"{path.name} is damaged")
        found = Manifest(**content)
        if f"{prefix.name}.index" not in found.files:
            raise DamagedError(f"{path.name} is that of another checkpoint")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path.name} is damaged") from error


def check(prefix: Path, manifest: Manifest) -> None:
    """Checks the files of a checkpoint against its manifest.

    Raises:
      DamagedError: a file is missing, or its length or content is different.
    """
    for name, expected in manifest.files.items():
        path = prefix.parent / name
        try:
            length = check_regular(path)
            if length != expected["bytes"]:
                raise DamagedError(f"{name} has {length} bytes instead of {expected['bytes']}")
            if measure(path) != expected:
                raise DamagedError(f"{name} is damaged: it has another checksum")
        except FileNotFoundError as error:
            raise DamagedError(f"{name} is missing") from error
        except OSError as error:
            raise DamagedError(f"{name} cannot be read ({error.strerror})") from error
        except ModelFileError as error:
            raise DamagedError(str(error)) from error


def measure(path: Path, flush: bool = False) -> dict[str, Any]:
    """Returns the length and the checksum of a file.

    Args:
      path: path of the file.
      flush: whether to flush its content to the disk first.

    Raises:
      OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if flush:
            os.fsync(file.fileno())
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": checksum}


def newest_notes(folders: list[Path]) -> dict[str, Any] | None:
    """Returns the notes of the newest checkpoint with an intact manifest; None if there is none."""
    places = [(step, folder) for folder in folders for step in steps(folder)]
    for step, folder in sorted(places, key=lambda place: place[0], reverse=True):
        try:
            manifest = read(prefix_of(folder, step))
        except DamagedError:
            continue
        if manifest is not None:
            return manifest.notes
    return None


def remove(prefix: Path) -> None:
    """Removes a checkpoint, its index first, without which it does not count as one."""
    for path in (*reversed(files(prefix)), _path(prefix)):
        path.unlink(missing_ok=True)


def remove_manifest(prefix: Path) -> None:
    """Removes the manifest before a checkpoint is written again, which makes it incomplete."""
    _path(prefix).unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Removes temporary files of a process that ended while TensorFlow wrote a checkpoint."""
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            shutil.rmtree(folder / name, ignore_errors=True)


def _path(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + SUFFIX)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _flush(folder: Path) -> None:
    """Flushes a folder's list of file names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
