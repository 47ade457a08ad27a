"""Class names in a `labels.txt` beside a teacher's file, as many classifiers are distributed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from levit_lite.class_names import LABELS_FILE
from levit_lite.prediction.predictor import names_beside
from training.teachers.cache import digest_of
from training.teachers.classes import is_table
from training.teachers.reading import Reading


def digest_of_teacher(path: str | os.PathLike, class_file: str | None) -> str:
    """Returns a checksum of a teacher's file, and of a `labels.txt` that may name its classes.

    Args:
      path: the file.
      class_file: see `load_teacher`.
    """
    labels = labels_beside(path, class_file)
    return digest_of(path) if labels is None else f"{digest_of(path)} {digest_of(labels)}"


def labels_beside(path: str | os.PathLike, class_file: str | None) -> Path | None:
    """Returns the `labels.txt` that may name a teacher's classes; None if there is none.

    Args:
      path: the teacher's file. A SavedModel has its labels inside.
      class_file: see `load_teacher`. It has priority if it lists the teacher's classes.
    """
    labels = Path(path).with_name(LABELS_FILE)
    is_listed = class_file is not None and not is_table(class_file)
    return None if is_listed or os.path.isdir(path) or not labels.is_file() else labels


def with_names(found: Reading, labels: Path | None) -> tuple[Reading, str]:
    """Gives a teacher without class names those of a `labels.txt`; returns a text about that."""
    if labels is None:
        return found, ""
    setting = "--set=teacher_classes=FILE"
    names = names_beside([labels.parent], found.answers[1], found.class_names, setting)
    if names is None:
        return found, ""
    return dataclasses.replace(found, class_names=tuple(names)), f", named by {labels}"
