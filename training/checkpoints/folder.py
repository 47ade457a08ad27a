"""The folder of a run: only one run at a time uses it, and always with the same inputs."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from levit_tf.pictures.run_pictures import PICTURES_FILE
from training.checkpoints.checkpoint import CHECKPOINTS, OTHER_WORKERS
from training.checkpoints.record import CONFIG_FILE, RUN_FILE, Record, read, write
from training.checkpoints.record_checks import check_same
from training.log import CSV_FILE, JSON_FILE, TENSORBOARD
from training.outcome import RESULT_FILE

LOCK_FILE, BEST_FILE = "run.lock", "best.keras"
# Files that a run resumes from. A new run must not find any of them.
STATE = (
    *(CONFIG_FILE, RUN_FILE, PICTURES_FILE, CHECKPOINTS),
    *(JSON_FILE, CSV_FILE, TENSORBOARD, BEST_FILE, RESULT_FILE),
)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a lock on the folder for this process; creates the folder if needed.

    It is a lock of the operating system, so it ends with the process in any case. A folder that was
    created and in which nothing was written is removed again.

    Raises:
      FileExistsError: another process holds the lock; the message names that process.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FileExistsError(
                f"--output: {folder} is in use by another run ({file.read().strip()}). Choose "
                "another folder, or stop that run first."
            ) from None
        if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
            raise FileExistsError(f"--output: a run in {folder} has just ended; try again.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if is_new and not any(folder.iterdir()):
                folder.rmdir()


class Prepared(NamedTuple):
    """What is known about a run before it begins or resumes.

    Attributes:
      record: the inputs of the run and its earlier attempts.
      lines: messages about harmless differences from the earlier run.
    """

    record: Record
    lines: list[str]


def prepare(
    folder: Path,
    record: Record,
    *,
    overwrite: bool = False,
    changed_pictures: bool = False,
) -> Prepared:
    """Prepares a locked folder for a run that begins or resumes.

    In the folder of an earlier run nothing changes: the caller calls
    `training.checkpoints.record.write` once it is certain that the run resumes.

    Args:
      folder: the folder of the run.
      record: the inputs of the run.
      overwrite: whether to remove the files of an earlier run first.
      changed_pictures: whether a run may resume with other pictures of the same classes.

    Raises:
      FileExistsError: the folder holds other files, or a run with other inputs; the message says
        what differs.
    """
    # Other workers may have written to the folder already.
    found = {path.name for path in folder.iterdir()} - {LOCK_FILE, OTHER_WORKERS}
    found -= {path.name for path in unfinished(folder)}
    lines = []
    if overwrite:
        for name in found & set(STATE):  # artefacts are replaced one by one at the end
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif found:
        earlier = read(folder)
        if earlier is None:
            raise FileExistsError(
                f"--output: {folder} is not an empty folder, nor that of an earlier run. Choose "
                "another, or replace what is there with --overwrite."
            )
        lines = check_same(folder, earlier, record, changed_pictures)
        record = dataclasses.replace(record, attempts=earlier.attempts)
    if overwrite or not found:
        write(folder, record)
    return Prepared(record, lines)


def unfinished(folder: Path) -> list[Path]:
    """Lists half-written files with temporary names, left by processes that were killed."""
    return [path for name in STATE for path in folder.glob(f".{glob.escape(name)}.*")]


def clean(folder: Path) -> None:
    """Removes the files that `unfinished` lists; as the folder is locked, nobody writes them."""
    for path in unfinished(folder):
        shutil.rmtree(path, ignore_errors=True)
