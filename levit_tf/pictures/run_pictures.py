"""The list of training pictures in the folder of a run, and of files made from its network."""

from __future__ import annotations

import filecmp
import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from levit_common.files import atomic_path
from levit_common.model_sources import is_name
from levit_tf.opening.saved_models import GRAPH_FILE

PICTURES_FILE = "pictures.json.gz"  # each line is [part, path, label, size]
TRAINING_PART = "training"
_CONFIG_FILE, _BEGINNING, _DATA_SET = "config.json", "init_from", "dataset"
_FOLDER_PREFIX = "imagefolder:"
_MOST_RUNS = 8


class SeenPicture(NamedTuple):
    """A picture that a network was trained with.

    Attributes:
      listed_in: the list file that names it.
      file: its path when the network was trained; where the run does not name its data set, the
        path within it.
    """

    listed_in: Path
    file: str


# By what `picture_key` tells; ordinary folders repeat names, and small pictures sizes.
Seen = Mapping[tuple[str, int], Sequence[SeenPicture]]


def seen_in_training(*models: str | os.PathLike) -> Seen:
    """Returns the training pictures of models' runs, and of the runs that they started from.

    Args:
      *models: each a file or SavedModel in the folder of a run or of `write_seen`, or the folder
        itself; or a variant or an address on the hub, whose pictures nothing lists.

    Returns:
      The pictures; empty if no model is from a run, or if the runs' lists cannot be read.
    """
    found: dict[tuple[str, int], list[SeenPicture]] = {}
    for model in models:
        # The name of a variant is no file in the working folder, which may be that of a run.
        folder = None if is_name(model) else Path(model)
        for _ in range(_MOST_RUNS):
            if folder is None:
                break
            if not folder.is_dir() or (folder / GRAPH_FILE).exists():
                folder = folder.parent
            config = _config_of(folder)
            root = str(config.get(_DATA_SET)).partition(_FOLDER_PREFIX)[2]
            for name, size in _training_pictures(folder / PICTURES_FILE):
                one = SeenPicture(folder / PICTURES_FILE, os.path.join(root, name))
                known = found.setdefault(picture_key(name, size), [])
                if all(one.file != other.file for other in known):
                    known.append(one)
            source = config.get(_BEGINNING)
            is_there = isinstance(source, str) and os.path.exists(source)
            folder = Path(source) if is_there else None
    return found


def find_seen(path: str | os.PathLike, seen: Seen) -> SeenPicture | None:
    """Returns the training picture that a picture is; None if it is none.

    A picture with the name and size of one that is no longer where it was counts as that one.
    """
    size = os.path.getsize(path)
    for one in seen.get(picture_key(path, size), ()):
        if not is_there(one, size) or filecmp.cmp(path, one.file, shallow=False):
            return one
    return None


def is_there(picture: SeenPicture, size: int) -> bool:
    """Returns whether a training picture is still where it was, and of this size in bytes."""
    return os.path.isfile(picture.file) and os.path.getsize(picture.file) == size


def write_seen(folder: Path, seen: Seen) -> None:
    """Writes the training pictures of a network to a folder with files made from it.

    Args:
      folder: the folder.
      seen: the result of `seen_in_training`.
    """
    with (
        atomic_path(folder / PICTURES_FILE, overwrite=True) as temporary,
        gzip.open(temporary, "wt", encoding="ascii") as file,
    ):
        for (_, size), pictures in seen.items():
            for one in pictures:
                file.write(f"{json.dumps([TRAINING_PART, one.file, None, size])}\n")


def picture_key(path: str | os.PathLike, size: int) -> tuple[str, int]:
    """Returns what a picture is looked up by: class folder and name, and size in bytes."""
    return "/".join(Path(path).parts[-2:]), size


def _training_pictures(path: Path) -> Iterator[tuple[str, int]]:
    """Yields paths as in the list, and sizes; nothing more once the list is damaged."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            for line in file:
                part, name, _, size = json.loads(line)
                if part == TRAINING_PART:
                    yield str(name), int(size)
    except (OSError, EOFError, ValueError, TypeError):
        return


def _config_of(folder: Path) -> dict[str, Any]:
    """Returns the configuration of a run; empty if there is none that can be read."""
    try:
        found = json.loads((folder / _CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
