"""Image folders: one sub-folder for each class, with the pictures of that class.

    PATH/train/CLASS/*  and  PATH/test/CLASS/*  (or val, validation, holdout, in any case)
    PATH/CLASS/*        where a fixed tenth of the pictures is held out

`levit_tf.pictures.folder_layout` recognises the layout, and `levit_tf.pictures.picture_folders`
decides which files are pictures. Damage that only decoding can find is handled at that time, see
`training.data.decoding`.
"""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from levit_common.spelling import shortened
from levit_lite.images import ImageError
from levit_tf.pictures.folder_layout import (
    TEST,
    TRAIN,
    VALIDATION,
    Layout,
    check_several,
    class_folders,
    find_layout,
)
from levit_tf.pictures.picture_folders import scan_folders
from training.data.decoding import Skipped
from training.data.sources import Details, Example, Fetched, FileEntry, Source, file_size

WHOLE = "all"  # all pictures
HELD_OUT = 0.1

_THREADS = 16
_CHUNK = 256  # number of files that a thread takes at once


class FolderSource(Source):
    """Pictures in separate files.

    Args:
      paths: paths of the pictures.
      labels: one label for each picture.
      plain: see `training.data.sources.Fetched`.
    """

    def __init__(self, paths: Sequence[str], labels: Sequence[int], plain: Sequence[bool]):
        self._paths = list(paths)
        self._labels = list(labels)
        self._tensors = (
            tf.constant([os.fsencode(path) for path in paths], tf.string),
            tf.constant(self._labels, tf.int32),
            tf.constant(list(plain), tf.bool),
        )

    def __len__(self) -> int:
        return len(self._paths)

    def fetch(self, indices: tf.Tensor) -> Fetched:
        return Fetched(*(tf.gather(tensor, indices) for tensor in self._tensors))

    def read(self, contents: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(contents)

    def example(self, index: int) -> Example:
        path = self._paths[index]
        return Example(path, path, self._labels[index])

    def entries(self) -> list[FileEntry]:
        with ThreadPoolExecutor(_THREADS) as threads:  # most of it is waiting
            sizes = list(threads.map(file_size, self._paths, chunksize=_CHUNK))
        return [FileEntry(*entry) for entry in zip(self._paths, self._labels, sizes, strict=True)]

    def number_in(self, other: FolderSource) -> int:
        paths = set(other._paths)
        return sum(path in paths for path in self._paths)


@dataclasses.dataclass(frozen=True)
class FolderData:
    """The contents of an image folder.

    Attributes:
      train: the training part; None if there is none.
      test: the held-out part; None if there is none.
      classes: names of the classes in the order of the labels.
      details: number of pictures of each class, and the origin of the held-out part.
    """

    train: FolderSource | None
    test: FolderSource | None
    classes: list[str]
    details: Details


def load_folder(
    path: str,
    split_train: str | None,
    split_test: str | None,
    skipped: Skipped,
    with_train: bool = True,
) -> FolderData:
    """Finds the pictures of a folder.

    Args:
      path: the folder.
      split_train: name of the part to train on: a sub-folder if there are parts, otherwise "train"
        for what is not held out; or "all". By default "train", if there is one.
      split_test: name of the part to hold out: a sub-folder if there are parts, otherwise "test"
        for the held-out tenth; or "all". By default the test part, if there is one, or the
        validation part; without parts, the tenth for training, and all pictures if nothing is
        trained.
      skipped: collects the unreadable files.
      with_train: whether there will be training; if not, the training part is ignored.

    Raises:
      ValueError: there is no such folder or part; there are no classes, or only one to train on; a
        class has no pictures, or each only one to hold out or train on; or the held-out part has a
        class that the training part lacks.
    """
    try:
        layout = find_layout(path)
        if not layout.parts:
            return _load_classes(layout.root, split_train, split_test, skipped, with_train, layout)
        return _load_parts(layout, split_train, split_test, skipped, with_train)
    except OSError as error:
        raise ValueError(f"dataset imagefolder:{path}: cannot be read: {error}.") from error


def _load_parts(
    layout: Layout,
    split_train: str | None,
    split_test: str | None,
    skipped: Skipped,
    with_train: bool,
) -> FolderData:
    root = layout.root
    train = _chosen(layout, split_train, (TRAIN,))
    is_made = set(layout.parts.values()) == {TRAIN} and split_test in (None, TEST)
    test = [] if is_made else _chosen(layout, split_test, (TEST, VALIDATION))
    if not test:
        found = _load_classes(root / train[0], None, split_test, skipped, with_train, layout)
        where = f"{found.details.held_out_from}, of {train[0]}/ as there is no test part"
        details = dataclasses.replace(found.details, held_out_from=where)
        return dataclasses.replace(found, details=details)
    classes = class_folders(root / (train or test)[0])
    for name in test:
        unknown = sorted(set(class_folders(root / name)) - set(classes))
        if unknown:
            raise ValueError(
                f"{root / name}: {len(unknown)} classes that {root / (train or test)[0]} has not, "
                f"such as {unknown[0]!r}."
            )
    entries: dict[str, list[Entry]] = {}
    for name in dict.fromkeys((train if with_train else []) + test):
        entries[name] = _scan(root / name, classes, skipped, complete=name in train)
    if with_train and train:
        check_several(root / train[0], classes)
    held_out = [entry for name in test for entry in entries[name]]
    known = list(dict.fromkeys(train + test))
    others = (*layout.others, *(f"{name}/" for name in layout.parts if name not in known))
    return FolderData(
        _source([entry for name in train for entry in entries.get(name, ())]),
        _source(held_out),
        classes,
        Details(
            _counts([entry for part in entries.values() for entry in part], classes),
            "from " + " and ".join(f"{name}/" for name in test) + _missing(held_out, classes),
            others,
        ),
    )


def _chosen(layout: Layout, wanted: str | None, defaults: Sequence[str]) -> list[str]:
    """Returns the names of the chosen parts: none, one, or all of them."""
    if wanted == WHOLE and WHOLE not in layout.parts:
        return sorted(layout.parts)
    if wanted is not None:
        return [layout.part(wanted)]
    return [name for kind in defaults if (name := layout.of_kind(kind))][:1]


def _load_classes(
    folder: Path,
    split_train: str | None,
    split_test: str | None,
    skipped: Skipped,
    with_train: bool,
    layout: Layout,
) -> FolderData:
    """Splits a folder of classes into a training and a held-out part."""
    known = (TRAIN, TEST, WHOLE)
    for split in (split_train, split_test):
        if split not in (None, *known):
            raise ValueError(
                f"{folder}: has no parts but those that are made of it, {', '.join(known)}. "
                f"Received: {split!r}"
            )
    classes = class_folders(folder)
    if with_train:
        check_several(folder, classes)
    scanned = _scan(folder, classes, skipped, complete=True)
    held_out = {
        path
        for label in range(len(classes))
        for path in _held_out([path for path, of, _ in scanned if of == label], folder)
    }
    parts = {
        TRAIN: [entry for entry in scanned if entry[0] not in held_out],
        TEST: [entry for entry in scanned if entry[0] in held_out],
        WHOLE: scanned,
    }
    split_test = split_test or (TEST if with_train else WHOLE)
    if not parts[split_test]:  # the held-out tenth
        reason = "one picture of each class: nothing can be held out"
        raise ValueError(f"{folder}: {reason}. Add a second, or a test/ part.")
    held_out_from = {
        TRAIN: "all but the tenth that training holds out",
        TEST: "a tenth of each class, always the same",
        WHOLE: "all of them (training on this folder holds a tenth out: --split=test)",
    }[split_test]
    return FolderData(
        _source(parts[split_train or TRAIN] if with_train else []),
        _source(parts[split_test]),
        classes,
        Details(_counts(scanned, classes), held_out_from, layout.others),
    )


def _held_out(paths: Sequence[str], folder: Path) -> list[str]:
    """Chooses a tenth of a class's pictures by their names; at least one if there are two or more.

    So the choice is the same on every machine, and hardly changes when pictures are added.
    """
    count = max(round(HELD_OUT * len(paths)), 1) if len(paths) > 1 else 0
    return sorted(paths, key=lambda path: (_hash(path, folder), path))[:count]


def _hash(path: str, folder: Path) -> int:
    return zlib.crc32(os.path.relpath(path, folder).encode("utf-8", "surrogateescape"))


Entry = tuple[str, int, bool]  # path, label, plain


def _scan(folder: Path, classes: Sequence[str], skipped: Skipped, complete: bool) -> list[Entry]:
    """Lists the readable files of every class, in the order of their names.

    Args:
      folder: the folder that contains the class folders.
      classes: names of the classes in the order of the labels.
      skipped: collects the unreadable files.
      complete: whether every class must have a picture.
    """
    # A held-out part may lack some classes.
    there = [label for label, name in enumerate(classes) if (folder / name).is_dir()]
    entries: list[Entry] = []
    for label, (pictures, left_out) in zip(
        there, scan_folders([folder / classes[label] for label in there]), strict=True
    ):
        for path, reason in left_out:
            skipped.add(path, ImageError(reason))
        entries += [(picture.path, label, picture.is_plain) for picture in pictures]
    present = {label for _, label, _ in entries}
    empty = [name for label, name in enumerate(classes) if label not in present]
    if empty and (complete or len(empty) == len(classes)):
        raise ValueError(
            f"{folder / empty[0]}: no picture that can be read. Every sub-folder of {folder} is "
            "taken for a class; move what is none elsewhere."
        )
    return entries


def _counts(entries: Sequence[Entry], classes: Sequence[str]) -> list[int]:
    counts = [0] * len(classes)
    for _, label, _ in entries:
        counts[label] += 1
    return counts


def _missing(entries: Sequence[Entry], classes: Sequence[str]) -> str:
    """Returns a text that names the classes without held-out pictures; may be empty."""
    names = [name for name, n in zip(classes, _counts(entries, classes), strict=True) if not n]
    return f" (none of {shortened(names)})" if names else ""


def _source(entries: Sequence[Entry]) -> FolderSource | None:
    if not entries:
        return None
    paths, labels, plain = zip(*entries, strict=True)
    return FolderSource(paths, labels, plain)
