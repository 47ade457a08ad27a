"""The folder of a run: one run at a time in it, and always of the same configuration."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from levit_tf.files import atomic_path
from training.checkpoint import CHECKPOINTS, OTHER_WORKERS
from training.log import CSV_FILE, JSON_FILE, TENSORBOARD

CONFIG_FILE, LOCK_FILE, BEST_FILE = "config.json", "run.lock", "best.keras"
# What a run goes on from, and all that a new one must not find.
STATE = (CONFIG_FILE, CHECKPOINTS, JSON_FILE, CSV_FILE, TENSORBOARD, BEST_FILE)


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


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, replacing an existing one."""
    with atomic_path(path, overwrite=True) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def prepare(folder: Path, config: dict[str, Any], strategy: str, overwrite: bool) -> None:
    """Makes a folder ready for a run that begins or goes on; it is locked.

    Args:
      folder: of the run.
      config: all fields of the configuration.
      strategy: its name; a run may go on under another.
      overwrite: whether what an earlier run left is removed first.

    Raises:
      FileExistsError: there are files of something else, or of a run of another configuration; the
        message lists the fields that differ.
    """
    # Other workers may be there already.
    own = {path.name for path in folder.iterdir()} - {LOCK_FILE, OTHER_WORKERS}
    found = sorted(own)
    if overwrite:
        for name in set(found) & set(STATE):  # artefacts are replaced one by one at the end
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif found and CONFIG_FILE not in found:
        raise FileExistsError(
            f"--output: {folder} is not an empty folder, nor that of an earlier run. Choose "
            "another, or replace what is there with --overwrite."
        )
    elif found:
        _check_same(folder, config)
    write_json(folder / CONFIG_FILE, {**config, "strategy": strategy})


def _check_same(folder: Path, config: dict[str, Any]) -> None:
    try:
        earlier = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileExistsError(f"--output: {folder / CONFIG_FILE} is damaged: {error}") from error
    now = json.loads(json.dumps(config))  # tuples become lists
    fields = sorted((set(now) | set(earlier)) - {"strategy"})
    different = [
        f"{field} is {earlier.get(field)!r} there and {now.get(field)!r} here"
        for field in fields
        if earlier.get(field) != now.get(field)
    ]
    if different:
        raise FileExistsError(
            f"--output: {folder} holds a run of another configuration, which this one cannot go "
            f"on from: {'; '.join(different)}. Choose another folder, or replace that run with "
            "--overwrite."
        )
