"""Resuming a run: which checkpoint it uses, and the messages about it."""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from levit_common.files import atomic_path
from training.checkpoints import manifest
from training.checkpoints.checkpoint import (
    BEST,
    CheckpointError,
    Checkpoints,
    Restored,
    checkpoint_folders,
)
from training.checkpoints.folder import BEST_FILE
from training.checkpoints.manifest import DamagedError
from training.log import CSV_FILE, JSON_FILE, Row, agreed_rows, best_step, rows_of
from training.loop.session import Session
from training.strategy import agree

ROWS = "rows"  # beside BEST, in the notes of a checkpoint


def restore(
    session: Session, folder: Path, checkpoints: Checkpoints, is_chief: bool
) -> Restored | None:
    """Restores a session from the newest intact checkpoint, and repairs the best network's file.

    Args:
      session: the session of the run.
      folder: the folder of the run; it stays unchanged until a checkpoint was restored.
      checkpoints: the checkpoints of the session.
      is_chief: whether this worker writes the files of the run.

    Returns:
      The checkpoint; None if the run begins anew.

    Raises:
      CheckpointError: there are traces of checkpoints, but none can be used.
    """
    best, rows, is_best_right = folder / BEST_FILE, [], True

    def check(found: Restored) -> None:
        nonlocal rows, is_best_right
        rows = _rows(session, folder, found)
        step = best_step(rows)
        is_best_right = step is None or _is_best(folder, found)
        if is_best_right or checkpoints.has(step):
            return
        if best.exists() or checkpoint_folders(folder)[1].exists():
            raise DamagedError(
                f"the best network until then, of step {step}, is lost: neither {best.name} nor "
                f"its checkpoint can be used (remove both, with the folder {BEST}, to go on "
                "without it)"
            )

    restored = checkpoints.restore(check)
    if restored is None and best.exists() and is_chief:
        raise CheckpointError(
            f"{folder}: {best.name} shows that this run had checkpoints, and there are none. Put "
            "them back, choose another folder, or begin anew with --overwrite."
        )
    if not agree(session.strategy, session.step):
        raise CheckpointError(
            f"{folder}: the workers do not find the same checkpoint there: this one goes on after "
            f"step {session.step}, another after another. Is it the same folder for all of them?"
        )
    if restored is None:
        return None
    if is_chief and not is_best_right:
        if checkpoints.restore_step(best_step(rows)):
            save_best(session, folder)
            print(f"{best} was damaged or missing; it is made again from the best checkpoint.")
            checkpoints.restore_step(restored.step)
        else:
            print(f"WARNING: {best} is lost; the run goes on without, until a better one.")
    return dataclasses.replace(restored, notes={**restored.notes, ROWS: rows})


def _rows(session: Session, folder: Path, found: Restored) -> list[Row]:
    """Returns the log up to a checkpoint, from its notes or else from the folder.

    Raises:
      DamagedError: an epoch is missing.
    """
    if ROWS in found.notes:
        return rows_of(found.notes[ROWS])
    rows = agreed_rows(folder, found.step)
    epochs = found.step // session.schedule.steps_per_epoch
    if rows is None or [row.epoch for row in rows] != list(range(1, epochs + 1)):
        raise DamagedError(
            f"{JSON_FILE} and {CSV_FILE} do not both have the {epochs} epochs until then, and "
            f"its manifest cannot be read"
        )
    return rows


def measure_best(folder: Path) -> dict[str, Any] | None:
    """Returns the length and checksum of the best network's file; None if there is none."""
    path = folder / BEST_FILE
    return manifest.measure(path) if path.is_file() else None


def _is_best(folder: Path, found: Restored) -> bool:
    """Whether the best network's file matches a checkpoint's notes or, without any, is intact."""
    path = folder / BEST_FILE
    try:
        if BEST in found.notes:
            return measure_best(folder) == found.notes[BEST]
        with zipfile.ZipFile(path) as archive:  # with a checksum for each of its members
            return archive.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return False


def save_best(session: Session, folder: Path) -> None:
    """Saves the present network as the best one so far."""
    with atomic_path(folder / BEST_FILE, overwrite=True) as temporary:
        session.shipped().save(temporary)


def print_beginning(
    session: Session, restored: Restored | None, passed_over: Sequence[str]
) -> None:
    """Prints which weights the run begins with, and which checkpoints could not be used."""
    lines = [f"passed over: {reason}" for reason in passed_over]
    if restored is None:
        lines.append(session.beginning)
    else:
        remark = f" ({restored.remark})" if restored.remark else ""
        lines.append(
            f"goes on after step {session.step} of {session.schedule.steps}, from "
            f"{restored.path}{remark}"
        )
    print("\n".join(lines) + "\n")
