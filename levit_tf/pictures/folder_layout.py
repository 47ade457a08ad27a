"""Folders of labelled pictures: which sub-folders are classes, and which are parts with classes.

    PATH/train/CLASS/*  and  PATH/test/CLASS/*   parts, by any of their usual names
    PATH/CLASS/*                                 classes

Only names are looked at here, not files.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from levit_common.picture_files import is_passed_over, printable

TRAIN = "train"
TEST = "test"
VALIDATION = "validation"

# Words by which people name parts, whatever the case and what stands between them.
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
    """What the sub-folders of a folder are.

    Attributes:
      root: the folder.
      parts: name of each sub-folder that is a part -> `TRAIN`, `TEST` or `VALIDATION`; empty where
        the sub-folders are classes.
      others: what lies beside parts or classes and is neither.
    """

    root: Path
    parts: dict[str, str]
    others: tuple[str, ...]

    def of_kind(self, kind: str) -> str | None:
        """The part of a kind, None without.

        Raises:
          ValueError: there are several.
        """
        found = [name for name, of in self.parts.items() if of == kind]
        if len(found) > 1:
            raise ValueError(
                f"{self.root}: {' and '.join(found)} are both {kind} parts; name the one that is "
                "meant: --set=split_train=, --set=split_test=; for training.evaluate --split="
            )
        return found[0] if found else None

    def part(self, wanted: str) -> str:
        """The part that somebody names, by its own name or another usual one of its kind.

        Raises:
          ValueError: there is none, or several.
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
    """`TRAIN`, `TEST` or `VALIDATION` for a usual name of a part; None for any other."""
    separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W_]+", separated.lower())
    words = [word for word in words if not re.fullmatch(r"(19|20)\d\d", word)]
    known = {*_KINDS, "held", "hold", "out"}
    if all(word in known or word in _FILLERS for word in words):
        joined = "".join(word for word in words if word not in _FILLERS)
    else:  # trainset, val2017
        joined = re.sub(r"(set|data|(19|20)\d\d)$", "", "".join(words))
    return _KINDS.get(joined)


def find_layout(root: str | os.PathLike) -> Layout:
    """Tells parts from classes.

    A folder whose sub-folders all have names of parts has parts; so has one with a training part
    and a held-out one, whatever else lies there. Otherwise the sub-folders are classes, one of
    which may well be called "test". What has no sub-folders of its own is no part.

    Args:
      root: the folder.

    Raises:
      ValueError: no such folder, no sub-folders, or they can be understood in two ways.
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
            f"{root}: {_listed(flat)} {'is' if len(flat) == 1 else 'are'} named like parts, and "
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
                f"{'is' if len(rest) == 1 else 'are'} {_listed(rest)}. Move what is no part "
                f"elsewhere, or name {os.fspath(root / name)!r} itself."
            )
    return Layout(root, {}, tuple(files))


def learning_part(folder: str | os.PathLike) -> Path:
    """The training part of a folder of labelled pictures; any other folder itself."""
    try:
        name = find_layout(folder).of_kind(TRAIN)
    except ValueError:  # one without labels, or of which nobody can say what is a part
        name = None
    return Path(folder) / name if name else Path(folder)


def class_folders(folder: Path) -> list[str]:
    """The classes of a folder: its sub-folders, sorted, by their value if all are numbers.

    Raises:
      ValueError: there are none, or a name that cannot be written down as a line of text.
    """
    names, files = visible(folder)
    if not names:
        held = f"Found none, but {len(files):,} files." if files else "Found none."
        raise ValueError(f"{folder}: expected a sub-folder for each class. {held} ({_EXAMPLE})")
    for name in names:
        if not name.isprintable() or name != name.strip():
            raise ValueError(
                f"{folder}: the folder {name!r} cannot be the name of a class, which is a line of "
                "text without spaces around it. Rename it."
            )
    # ImageNet-V2 comes with the numbers of the classes, 0..999: not in the order of the letters.
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def check_several(folder: Path, classes: Sequence[str]) -> None:
    """Refuses a single class, as the parent of the folder that was meant has.

    Raises:
      ValueError: there is one; the message names a nested folder that looks right.
    """
    if len(classes) != 1:
        return
    nested = folder / classes[0]
    while len(inside := visible(nested)[0]) == 1:
        nested /= inside[0]
    advice = "With one class there is nothing to tell apart."
    if inside:
        advice = f"Perhaps {os.fspath(nested)!r} is meant, with {_listed(inside)}."
    raise ValueError(
        f"{folder}: holds one class, {classes[0]!r}; expected a sub-folder for each of two or "
        f"more. {advice}"
    )


def visible(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the sub-folders and of the files of a folder, sorted, without `is_passed_over`.

    Raises:
      OSError: the folder cannot be read.
    """
    entries = [entry for entry in os.scandir(folder) if not is_passed_over(entry.name)]
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    return folders, sorted(entry.name for entry in entries if not entry.is_dir())


def _listed(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(printable, names[:shown])) + more
