"""Reads the list of training pictures in the folder of a training run."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

PICTURES_FILE = "pictures.json.gz"  # each line is [part, path, label, size]
TRAINING_PART = "training"
_CONFIG_FILE, _BEGINNING = "config.json", "init_from"
_MOST_RUNS = 8


def seen_in_training(model: str | os.PathLike) -> dict[tuple[str, int], Path]:
    """Returns the training pictures of a model's run, and of the runs that it started from.

    Args:
      model: a file in a run's folder, or the folder itself.

    Returns:
      (path within the folder of classes, bytes) -> the list file that names the picture; empty if
      the model is not from a run, or if the run's list cannot be read.
    """
    found: dict[tuple[str, int], Path] = {}
    folder: Path | None = Path(model)
    for _ in range(_MOST_RUNS):
        if folder is None:
            break
        folder = folder if folder.is_dir() else folder.parent
        for name, size in _training_pictures(folder / PICTURES_FILE):
            found.setdefault((name, size), folder / PICTURES_FILE)
        folder = _began_with(folder / _CONFIG_FILE)
    return found


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
