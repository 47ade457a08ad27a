"""Maps the classes of a teacher to those of its student."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from levit_common.spelling import did_you_mean
from levit_lite.class_names import (
    check_class_names,
    composed,
    imagenet_class_names,
    imagenet_classes,
    read_labels,
)

# All names of each student class: that of its folder, and a human-readable one.
Names = Sequence[Sequence[str]]
_OR_ALL = "Or learn all of its classes in a head of their own: --set=teacher_head=true."


class ClassMap:
    """Maps a teacher's logits to those of the student's classes.

    Args:
      members: for each class of the student, the indices of the teacher's classes that belong to
        it.
    """

    def __init__(self, members: Sequence[Sequence[int]]):
        self.members = tuple(tuple(numbers) for numbers in members)
        most = max(map(len, self.members))
        # (classes, most), padded with the first index; and a mask that is added to the logits.
        self._indices = np.array([[*n, *n[:1] * (most - len(n))] for n in self.members], np.int32)
        self._mask = np.array(
            [[0.0] * len(n) + [-np.inf] * (most - len(n)) for n in self.members], np.float32
        )

    def __call__(self, logits: tf.Tensor) -> tf.Tensor:
        """Maps (batch, teacher classes) to (batch, student classes).

        The probability of a class is the sum over its members; all other classes are left out.
        """
        chosen = tf.gather(logits, self._indices, axis=1)  # (batch, classes, most)
        if self._mask.shape[1] == 1:
            return chosen[:, :, 0]
        return tf.reduce_logsumexp(chosen + self._mask, axis=2)


def class_map(
    names: Names,
    classes: int,
    *,
    own: Sequence[str] | None = None,
    file: str | None = None,
    teacher: str = "teacher",
) -> tuple[ClassMap | None, str]:
    """Finds the student's classes among those of the teacher.

    Args:
      names: names of the student's classes.
      classes: number of the teacher's classes.
      own: names of the teacher's classes in its file; None if it has none.
      file: the file of `teacher_classes`: the names of the teacher's classes in their order, one
        per line, or several between tabs; or a `.json` that gives, for each class of the student,
        the name or index of a class of the teacher, or a list of them.
      teacher: description of the teacher for messages.

    Returns:
      The map, or None if the classes are the same; and a text that describes it.

    Raises:
      ValueError: some classes cannot be found, or the file does not have one name for each.
    """
    by_table = file is not None and is_table(file)
    if own is not None and (file is None or by_table):
        check_class_names(own, classes, teacher)
    if classes == len(imagenet_classes()) and (own is None or _are_imagenets(own)):
        own = ["\t".join(both) for both in imagenet_classes()]
    if by_table:
        return _map_of_json(names, classes, file, own)
    of_file = ""
    if file is not None:
        others, own = own, _labels(file)
        if others is not None and list(map(_fold, others)) != list(map(_fold, own)):
            of_file = f", by {file}, although the teacher itself has others"
        if len(own) != classes:
            raise ValueError(
                f"teacher_classes={file}: {len(own)} names for a teacher of {classes} classes."
            )
    if own is None and classes == len(names):
        return None, "as many classes, taken in the order of the student's: the file names none"
    if own is None:
        raise ValueError(
            f"{teacher}: {classes} classes; the student has {len(names)}. Say which they are: "
            "--set=teacher_classes=FILE, the names of the teacher's classes one a line, or a .json "
            f'as {{"a class of the student": "a class of the teacher"}}. {_OR_ALL}'
        )
    places = _Places(own)
    found = [places.find(one) for one in names]
    if None in found:
        missing = [one[0] for one, place in zip(names, found, strict=True) if place is None]
        hint = did_you_mean(missing[0], places.names)
        raise ValueError(
            f"{teacher}: has no class {missing[0]!r}{_and_more(missing)}.{hint} Say which of its "
            "classes are the student's: --set=teacher_classes=FILE, their names one a line, or a "
            f'.json as {{"a class of the student": "a class of the teacher"}}. {_OR_ALL}'
        )
    members = [[place] for place in found]
    if members == [[n] for n in range(classes)]:
        return None, f"the same classes{of_file}"
    return ClassMap(members), f"{len(names)} of its {classes} classes, by name{of_file}"


def is_table(file: str) -> bool:
    """Returns whether a file of `teacher_classes` maps classes, and does not list the teacher's."""
    return Path(file).suffix.lower() == ".json"


def _map_of_json(
    names: Names, classes: int, file: str, own: Sequence[str] | None
) -> tuple[ClassMap, str]:
    places = _Places(own or ())
    try:
        table = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"teacher_classes={file}: cannot be read as JSON: {error}") from error
    if not isinstance(table, dict):
        raise ValueError(f"teacher_classes={file}: expected an object, class -> class.")
    members = []
    for one in names:
        key = next((name for name in one if name in table), None)
        if key is None:
            raise ValueError(
                f"teacher_classes={file}: says nothing of the class {one[0]!r}."
                f"{did_you_mean(one[0], list(table))}"
            )
        values = table[key] if isinstance(table[key], list) else [table[key]]
        members.append([_place(value, places, classes, file, key) for value in values])
        if not values:
            raise ValueError(f"teacher_classes={file}: {key!r} has no class of the teacher.")
    return ClassMap(members), f"{len(names)} classes, by {file}"


def _place(value: object, places: _Places, classes: int, file: str, key: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < classes:
        return value
    hint = ""
    if isinstance(value, str):
        found = places.find([value])
        if found is not None:
            return found
        hint = did_you_mean(value, places.names)
    raise ValueError(
        f"teacher_classes={file}: {key!r}: {value!r} is no class of the teacher.{hint} Expected "
        f"{'a name or ' if places.names else ''}a number of 0..{classes - 1}."
    )


def _labels(file: str) -> list[str]:
    try:
        return read_labels(file, several=True)
    except ValueError as error:
        raise ValueError(f"teacher_classes={error}") from error


class _Places:
    """The indices of a teacher's classes by their names.

    Args:
      own: a line for each class: its name, or several names between tabs.
    """

    def __init__(self, own: Sequence[str]):
        self._exact = _unique(own)
        self._folded = _unique([_fold(line) for line in own])
        self.names = list(self._exact)

    def find(self, names: Sequence[str]) -> int | None:
        """Returns the class that has one of these names, first letter for letter, or None."""
        for known, key in ((self._exact, str), (self._folded, _fold)):
            for name in names:
                if key(name) in known:
                    return known[key(name)]
        return None


def _unique(own: Sequence[str]) -> dict[str, int]:
    """Maps unique names of the classes, whole lines and parts between tabs, to their indices."""
    places: dict[str, list[int]] = {}
    for number, line in enumerate(own):
        for name in dict.fromkeys([line, *line.split("\t")]):
            places.setdefault(name, []).append(number)
    return {name: numbers[0] for name, numbers in places.items() if len(numbers) == 1}


def _fold(name: str) -> str:
    """Removes what differs between spellings of a name: "Golf ball", "golf-ball", "golf_ball"."""
    return re.sub("[ _-]+", "_", composed(name).casefold())


def _are_imagenets(own: Sequence[str]) -> bool:
    """Whether names are ImageNet's in its order, perhaps with synonyms: "tiger shark, Galeo..."."""
    first = [name.partition(",")[0].replace(" ", "_") for name in own]
    return first == imagenet_class_names()


def _and_more(missing: Sequence[str]) -> str:
    return f" nor {len(missing) - 1} more" if len(missing) > 1 else ""
