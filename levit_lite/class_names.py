"""Class names: ImageNet's, which come with the package, and those of a `labels.txt`.

Source of imagenet_classes.txt: the 1000 WordNet ids of ILSVRC 2012 in sorted order, the order of
the classes in every released checkpoint (as in TensorFlow Datasets,
datasets/imagenet2012/labels.txt), each with the first of its WordNet lemmas (as in timm,
data/_info/imagenet_synset_to_lemma.txt) with underscores for spaces. These are the names that
keras.applications shows; "crane" and "maillot" occur twice there, too.
"""

from __future__ import annotations

import functools
import importlib.resources
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

LABELS_FILE = "labels.txt"
MAX_LABELS_BYTES = 4 << 20  # size limit of a file of class names; ImageNet's have 10 kB


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Returns (WordNet id, name) of the 1000 ImageNet classes in the order of the outputs."""
    table = importlib.resources.files("levit_lite").joinpath("imagenet_classes.txt")
    lines = table.read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split("\t")) for line in lines)


def imagenet_class_names() -> list[str]:
    """Returns the names of the 1000 ImageNet classes in the order of the network's outputs."""
    return [name for _, name in imagenet_classes()]


def top_classes(scores: np.ndarray, top: int) -> np.ndarray:
    """Returns the classes with the `top` highest scores per row, best first; ties in class order.

    Args:
      scores: (batch, classes).
      top: number of classes to return, 1..classes.

    Returns:
      Integers of shape (batch, top).

    Raises:
      ValueError: `top` is not in 1..classes.
    """
    classes = scores.shape[1]
    if not 1 <= top <= classes:
        raise ValueError(f"top must lie in 1..{classes}, the number of classes. Received: {top}")
    return np.argsort(-scores, axis=1, kind="stable")[:, :top]


def composed(name: str) -> str:
    """Returns a name with "u" and its dots as one letter, as macOS' folders do not have it (NFC).

    Without that, names that look the same would be different ones.
    """
    return unicodedata.normalize("NFC", name)


def read_labels(path: str | os.PathLike, several: bool = False) -> list[str]:
    """Reads a labels file: UTF-8 text, one class name per line, in the order of the outputs.

    Args:
      path: the file. Empty lines at its end are ignored.
      several: whether a line may hold several names of its class, separated by tabs.

    Returns:
      The names; with `several`, the lines.

    Raises:
      ValueError: there is no such file, it is not text or empty, or a line is empty or contains
        control characters; the message names the file and the line.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: expected a file of class names, one a line; not a regular file.")
    try:
        if path.stat().st_size > MAX_LABELS_BYTES:
            raise ValueError(f"{path}: larger than {MAX_LABELS_BYTES:,} bytes; no class names.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ValueError(f"{path}: cannot be read as class names, one a line: {reason}.") from error
    names = [composed(line.strip()) for line in text.rstrip().splitlines()]
    if not names:
        raise ValueError(f"{path}: holds no class names; expected one a line.")
    if "" in names:
        raise ValueError(
            f"{path}: line {names.index('') + 1} is empty; expected one class name a line."
        )
    _check_characters([name.replace("\t", " ") if several else name for name in names], str(path))
    return names


def _check_characters(names: Sequence[str], source: str) -> None:
    """Refuses control characters, because names are printed on terminals."""
    for number, name in enumerate(names, 1):
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise ValueError(
                f"{source}: class name {number} of {len(names)} holds control characters: "
                f"{name!a}. Remove them."
            )


def check_class_names(names: Sequence[str], classes: int, source: str) -> list[str]:
    """Checks that there is one name per class.

    Args:
      names: the class names.
      classes: number of classes of the model.
      source: origin of the names, for the error message.

    Returns:
      `names` as a list.

    Raises:
      ValueError: the numbers differ, or a name is empty, not a string, or contains control
        characters.
    """
    names = list(names)
    if len(names) != classes:
        raise ValueError(f"{source}: {len(names)} class names for a model of {classes} classes.")
    wrong = next((name for name in names if not isinstance(name, str) or not name.strip()), None)
    if wrong is not None:
        raise ValueError(
            f"{source}: class names must be texts that are not empty. Found: {wrong!r}"
        )
    _check_characters(names, source)
    return names
