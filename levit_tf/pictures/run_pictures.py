"""The list of training pictures in the folder of a run, and of files made from its network."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path

from levit_common.files import atomic_path
from levit_tf.opening.saved_models import GRAPH_FILE

PICTURES_FILE = "pictures.json.gz"  # each line is [part, path, label, size]
TRAINING_PART = "training"
_CONFIG_FILE, _BEGINNING = "config.json", "init_from"
_MOST_RUNS = 8


def seen_in_training(model: str | os.PathLike) -> dict[tuple[str, int], Path]:
    """Returns the training pictures of a model's run, and of the runs that it started from.

    Args:
      model: a file or SavedModel in the folder of a run or of `write_seen`, or the folder itself.

    Returns:
      (path within the folder of classes, bytes) -> the list file that names the picture; empty if
      the model is not from a run, or if the run's list cannot be read.
    """
    found: dict[tuple[str, int], Path] = {}
    folder: Path | None = Path(model)
    for _ in range(_MOST_RUNS):
        if folder is None:
            break
        if not folder.is_dir() or (folder / GRAPH_FILE).exists():
            folder = folder.parent
        for name, size in _training_pictures(folder / PICTURES_FILE):
            found.setdefault((name, size), folder / PICTURES_FILE)
        folder = _began_with(folder / _CONFIG_FILE)
    return found


def write_seen(folder: Path, seen: Iterable[tuple[str, int]]) -> None:
    """Writes the training pictures of a network to a folder with files made from it.

    Args:
      folder: the folder.
      seen: the keys of a result of `seen_in_training`.
    """
    with (
        atomic_path(folder / PICTURES_FILE, overwrite=True) as temporary,
        gzip.open(temporary, "wt", encoding="ascii") as file,
    ):
        for name, size in seen:
            file.write(f"{json.dumps([TRAINING_PART, name, None, size])}\n")


def picture_key(path: str, size: int) -> tuple[str, int]:
    """Returns the key that identifies a picture: class folder and name, and size in bytes."""
    return "/".join(Path(path).parts[-2:]), size


def _training_pictures(path: Path):
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            for line in file:
                part, name, _, size = json.loads(line)
                if part == TRAINING_PART:
                    yield picture_key(name, size)
    except (OSError, EOFError, ValueError, TypeError):
        return


def _began_with(path: Path) -> Path | None:
    """Returns the model that a run started from, if its configuration names an existing file."""
    try:
        source = json.loads(path.read_text(encoding="utf-8")).get(_BEGINNING)
    except (OSError, ValueError, AttributeError):
        return None
    return Path(source) if isinstance(source, str) and os.path.exists(source) else None
