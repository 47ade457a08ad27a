"""The folder of a run: one run at a time in it, and always made of the same."""

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
# What a run goes on from, and all that a new one must not find.
STATE = (
    *(CONFIG_FILE, RUN_FILE, PICTURES_FILE, CHECKPOINTS),
    *(JSON_FILE, CSV_FILE, TENSORBOARD, BEST_FILE, RESULT_FILE),
)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; it is created.

    The lock is the system's: it ends with the process, however that ends.

    Raises:
      FileExistsError: another process holds it; the message names that.
    """
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


class Prepared(NamedTuple):
    """What is known of a run before it begins or goes on.

    Attributes:
      record: what it is made of, and how it went until now.
      lines: they say what differs from the earlier run and does no harm.
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
    """Makes a folder ready for a run that begins or goes on; it is locked.

    In the folder of an earlier run nothing changes: `training.checkpoints.record.write` comes when
    it is sure that the run goes on.

    Args:
      folder: of the run.
      record: what the run is made of.
      overwrite: whether what an earlier run left is removed first.
      changed_pictures: whether a run may go on with other pictures of the same classes.

    Raises:
      FileExistsError: there are files of something else, or of a run of something else; the message
        says what differs.
    """
    # Other workers may be there already.
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
    """What processes of a run that were killed have left half-written, under temporary names."""
    return [path for name in STATE for path in folder.glob(f".{glob.escape(name)}.*")]


def clean(folder: Path) -> None:
    """Removes what `unfinished` finds; the folder is locked, so nobody writes it."""
    for path in unfinished(folder):
        shutil.rmtree(path, ignore_errors=True)
