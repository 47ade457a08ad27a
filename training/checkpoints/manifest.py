"""What says that a checkpoint is whole: the length and the checksum of each of its files.

`ckpt-12.json` lies beside `ckpt-12.index` and `ckpt-12.data-*`. It is written last, once they are
on the disk: a checkpoint that has one was complete. It has a checksum of its own, so that damage to
it is not taken for damage to the checkpoint, and it carries notes: what else a run goes on from.
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
# What TensorFlow writes of a checkpoint, and the manifest; and where it collects the parts first.
_FILE = re.compile(rf"({_PREFIX}(\d+))\.(index|data-\d+-of-\d+|json)")
_TEMPORARY = re.compile(rf"{_PREFIX}\d+_temp")


class DamagedError(Exception):
    """A checkpoint, or its manifest, is not what was written; the message says what is wrong."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The manifest of a checkpoint.

    Attributes:
      files: by name, each with its length in "bytes" and its checksum in "sha256".
      notes: what the run noted with it.
    """

    files: dict[str, dict[str, Any]]
    notes: dict[str, Any]


def prefix_of(folder: Path, step: int) -> Path:
    """What the names of a checkpoint's files begin with."""
    return folder / f"{_PREFIX}{step}"


def steps(folder: Path) -> list[int]:
    """Steps of which there is any file of a checkpoint in a folder, the newest first."""
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(
        {int(found[2]) for name in names if (found := _FILE.fullmatch(name))}, reverse=True
    )


def files(prefix: Path) -> list[Path]:
    """The files of a checkpoint that are there, without its manifest, in the order of names."""
    names = os.listdir(prefix.parent)
    matches = filter(None, map(_FILE.fullmatch, names))
    return sorted(
        prefix.parent / found[0]
        for found in matches
        if found[1] == prefix.name and found[3] != SUFFIX[1:]
    )


def write(prefix: Path, notes: dict[str, Any]) -> None:
    """Writes the manifest of a checkpoint that has just been written, when it is on the disk.

    Args:
      prefix: of the checkpoint.
      notes: what to keep with it, as JSON takes it.

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
    """Reads the manifest of a checkpoint; None where there is none.

    Raises:
      DamagedError: it cannot be read, or is not what was written.
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
      DamagedError: one is missing, has another length or another content.
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
    """The length of a file and its checksum.

    Args:
      path: of the file.
      flush: whether to have its content written to the disk first.

    Raises:
      OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if flush:
            os.fsync(file.fileno())
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": checksum}


def newest_notes(folders: list[Path]) -> dict[str, Any] | None:
    """The notes of the newest checkpoint whose manifest is intact; None where there is none."""
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
    """Removes a checkpoint, its index first: without that nothing takes it for one."""
    for path in (*reversed(files(prefix)), _path(prefix)):
        path.unlink(missing_ok=True)


def remove_manifest(prefix: Path) -> None:
    """Takes back that a checkpoint is whole, before it is written again."""
    _path(prefix).unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Removes what TensorFlow left of a checkpoint while which the process was ended."""
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            shutil.rmtree(folder / name, ignore_errors=True)


def _path(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + SUFFIX)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _flush(folder: Path) -> None:
    """Has the names of a folder's files written to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
