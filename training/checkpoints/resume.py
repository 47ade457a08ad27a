"""How a run goes on: the checkpoint that it takes, and what it says about it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from levit_common.files import atomic_path
from training.checkpoints.checkpoint import CheckpointError, Checkpoints, Restored
from training.checkpoints.folder import BEST_FILE
from training.loop.session import Session
from training.strategy import agree


def restore(
    session: Session, folder: Path, checkpoints: Checkpoints, is_chief: bool
) -> Restored | None:
    """Sets a session to the newest checkpoint that is whole, and mends the best network.

    Args:
      session: of the run.
      folder: of the run; nothing in it changes before there is something to go on from.
      checkpoints: of the session.
      is_chief: whether this is the worker that writes the files of the run.

    Returns:
      The checkpoint; None for a run that begins.

    Raises:
      CheckpointError: there are traces of checkpoints, and none that can be used.
    """
    restored = checkpoints.restore()
    best = folder / BEST_FILE
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
    if restored is not None and is_chief and not _is_whole(best) and checkpoints.restore_best():
        save_best(session, folder)
        print(f"{best} was damaged or missing; it is made again from the best checkpoint.")
        restored = checkpoints.restore()
    return restored


def _is_whole(path: Path) -> bool:
    """Whether there is a `.keras` file, and what is in it has the checksums stored with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return False


def save_best(session: Session, folder: Path) -> None:
    """Writes the present network as the best one so far."""
    with atomic_path(folder / BEST_FILE, overwrite=True) as temporary:
        session.shipped().save(temporary)


def print_beginning(
    session: Session, restored: Restored | None, passed_over: Sequence[str]
) -> None:
    """Says what the weights begin with, and which checkpoints could not be used."""
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
