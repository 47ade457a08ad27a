"""Layout of folders of labelled pictures: sub-folders are classes, or parts that contain classes.

    PATH/train/CLASS/*  and  PATH/test/CLASS/*   parts, under any of their common names
    PATH/CLASS/*                                 classes

This module looks at names only, not at the content of files.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from levit_common.picture_files import is_passed_over, printable
from levit_common.spelling import shortened
from levit_lite.class_names import composed

TRAIN = "train"
TEST = "test"
VALIDATION = "validation"

# Common names of parts, in any case and with any separators.
_WORDS = {
    TRAIN: ("train", "training", "trn", "trainval"),
    TEST: ("test", "testing", "tst", "tests"),
    VALIDATION: (
        *("val", "valid", "validate", "validation", "validating", "eval", "evaluate"),
        *("evaluation", "dev", "devel", "development", "holdout", "heldout"),
    ),
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words}
_FILLERS = {"set", "data", "dataset", "split", "images", "image", "imgs", "img", "pictures"}
_EXAMPLE = "PATH/cat/1.jpg, PATH/dog/2.jpg"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The meaning of the sub-folders of a folder.

    Attributes:
      root: the folder.
      parts: name of each sub-folder that is a part -> `TRAIN`, `TEST` or `VALIDATION`; empty if the
        sub-folders are classes.
      others: names of sub-folders that are neither parts nor classes.
    """

    root: Path
    parts: dict[str, str]
    others: tuple[str, ...]

    def of_kind(self, kind: str) -> str | None:
        """Returns the part of a kind; None if there is none.

        Raises:
          ValueError: there are several parts of this kind.
        """
        found = [name for name, of in self.parts.items() if of == kind]
        if len(found) > 1:
            raise ValueError(
                f"{self.root}: {' and '.join(found)} are both {kind} parts; name the one that is "
                "meant: --set=split_train=, --set=split_test=; for training.evaluate --split=; "
                f"elsewhere its own folder, {os.path.join(self.root, found[0])}"
            )
        return found[0] if found else None

    def part(self, wanted: str) -> str:
        """Returns the part with this name, or else the part of the kind that the name stands for.

        Raises:
          ValueError: there is no such part, or several.
        """
        if wanted in self.parts:
            return wanted
        kind = part_kind(wanted)
        found = kind and self.of_kind(kind)
        if not found:
            raise ValueError(
                f"{self.root}: no part {wanted!r}. Found: {', '.join(sorted(self.parts))}."
            )
        return found


def part_kind(name: str) -> str | None:
    """Returns `TRAIN`, `TEST` or `VALIDATION` for a common name of a part; None for other names."""
    separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W_]+", separated.lower())
    words = [word for word in words if not re.fullmatch(r"(19|20)\d\d", word)]
    known = {*_KINDS, "held", "hold", "out"}
    if all(word in known or word in _FILLERS for word in words):
        joined = "".join(word for word in words if word not in _FILLERS)
    else:  # one word, such as trainset or val2017
        joined = re.sub(r"(set|data|(19|20)\d\d)$", "", "".join(words))
    return _KINDS.get(joined)


def find_layout(root: str | os.PathLike) -> Layout:
    """Finds out whether the sub-folders of a folder are parts or classes.

    A folder has parts if all of its sub-folders have names of parts, or if it contains a training
    part and a held-out part, whatever else is there. Otherwise the sub-folders are classes, and
    one of them may be called "test". A part must have sub-folders itself.

    Args:
      root: the folder.

    Raises:
      ValueError: no such folder, no sub-folders, or the layout is ambiguous.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder.")
    folders, files = visible(root)
    if not folders:
        held = f"Found none, but {len(files):,} files." if files else "Found none."
        raise ValueError(f"{root}: expected a sub-folder for each class. {held} ({_EXAMPLE})")
    named = {name: kind for name in folders if (kind := part_kind(name))}
    rest = [name for name in folders if name not in named]
    nested = {name: visible(root / name)[0] for name in named}
    parts = {name: kind for name, kind in named.items() if nested[name]}
    kinds = set(parts.values())
    if not rest and not parts:
        flat = sorted(named)
        raise ValueError(
            f"{root}: {shortened(flat)} {'is' if len(flat) == 1 else 'are'} named like parts, and "
            "without sub-folders. Expected a sub-folder for each class in them: "
            f"{flat[0]}/cat/1.jpg, {flat[0]}/dog/2.jpg."
        )
    if not rest or (TRAIN in kinds and len(kinds) > 1):
        others = [f"{name}/" for name in folders if name not in parts]
        return Layout(root, parts, (*others, *files))
    for name in parts:
        shared = sorted(set(nested[name]) & set(rest))
        if TRAIN in kinds or shared:
            also = f" which are beside it, too ({shared[0]!r})" if shared else ""
            raise ValueError(
                f"{root}: is {name!r} a part or a class? It has sub-folders{also}, and beside it "
                f"{'is' if len(rest) == 1 else 'are'} {shortened(rest)}. Move what is no part "
                f"elsewhere, or name {os.fspath(root / name)!r} itself."
            )
    return Layout(root, {}, tuple(files))


def learning_part(folder: str | os.PathLike) -> Path:
    """Returns the training part of a folder of labelled pictures, or else the folder itself."""
    try:
        name = find_layout(folder).of_kind(TRAIN)
    except ValueError:  # a folder without labels, or an ambiguous layout
        name = None
    return Path(folder) / name if name else Path(folder)


def class_folders(folder: Path) -> list[str]:
    """Returns the classes of a folder: its sub-folders, sorted; by value if all are numbers.

    Raises:
      ValueError: there are none, or a name cannot be written as one line of text.
    """
    names, files = visible(folder)
    if not names:
        held = f"Found none, but {len(files):,} files." if files else "Found none."
        raise ValueError(f"{folder}: expected a sub-folder for each class. {held} ({_EXAMPLE})")
    for name in names:
        if printable(name) != name or name != name.strip():
            raise ValueError(
                f"{folder}: the folder {name!r} cannot be the name of a class, which is a line of "
                "text without spaces around it. Rename it."
            )
    spellings = {}
    for name in names:
        other = spellings.setdefault(composed(name), name)
        if other != name:
            raise ValueError(
                f"{folder}: two folders look alike, {name!a} and {other!a}: one letter is written "
                "as two characters in one of them. Put their pictures into one folder."
            )
    # The folders of ImageNet-V2 are named by class number, 0..999, which must not sort as text.
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def check_several(folder: Path, classes: Sequence[str]) -> None:
    """Refuses a single class: then the parent of the intended folder was probably given.

    Raises:
      ValueError: there is only one class; the message names a nested folder that may be meant.
    """
    if len(classes) != 1:
        return
    nested = folder / classes[0]
    while len(inside := visible(nested)[0]) == 1:
        nested /= inside[0]
    advice = "With one class there is nothing to tell apart."
    if inside:
        advice = f"Perhaps {os.fspath(nested)!r} is meant, with {shortened(inside)}."
    raise ValueError(
        f"{folder}: holds one class, {classes[0]!r}; expected a sub-folder for each of two or "
        f"more. {advice}"
    )


def visible(folder: Path) -> tuple[list[str], list[str]]:
    """Returns sorted names of sub-folders and of files, without those of `is_passed_over`.

    Raises:
      OSError: the folder cannot be read.
    """
    entries = [entry for entry in os.scandir(folder) if not is_passed_over(entry.name)]
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    return folders, sorted(entry.name for entry in entries if not entry.is_dir())
