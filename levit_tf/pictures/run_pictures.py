"""Which pictures a training run has seen: the list that is in its folder."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

PICTURES_FILE = "pictures.json.gz"  # [part, path, label, size] a line
TRAINING_PART = "training"
_CONFIG_FILE, _BEGINNING = "config.json", "init_from"
_MOST_RUNS = 8


def seen_in_training(model: str | os.PathLike) -> dict[tuple[str, int], Path]:
    """The training pictures of the run that a model is from, and of those that it began with.

    Args:
      model: a file in a run's folder, or the folder itself.

    Returns:
      (path within the folder of classes, bytes) -> the list that has it; nothing for a model that
      is from no run, or from one whose list cannot be read.
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
    """What a picture is known by: its class's folder, its name, and the bytes of its file."""
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
    """The model that a run began with, if its configuration names a file that is there."""
    try:
        source = json.loads(path.read_text(encoding="utf-8")).get(_BEGINNING)
    except (OSError, ValueError, AttributeError):
        return None
    return Path(source) if isinstance(source, str) and os.path.exists(source) else None
