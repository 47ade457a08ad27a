"""Image folders: a sub-folder for each class, with the pictures of the class in it.

    PATH/train/CLASS/*  and  PATH/test/CLASS/*  (or val, validation)
    PATH/CLASS/*        of which a tenth is held out, always the same

Every file's header is looked at beforehand, which takes about a minute for a million files: what
is empty, no picture, too large or cut off is left out and listed. Damage that only decoding can
find is dealt with when it is found, see `training.data.decoding`.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from levit_tf.images import FORMATS, MAX_PIXELS, ImageError, load_image
from training.data.decoding import Skipped
from training.data.sources import Example, Fetched, FileEntry, Source

TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test", "val", "validation")
WHOLE = "all"  # the part of a folder of classes that is all of it
HELD_OUT = 0.1

_THREADS = 16
_CHUNK = 256  # files that a thread takes at once
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 64  # bytes; some cameras and servers leave a few behind the end
_EXIF_ORIENTATION = 0x0112


class FolderSource(Source):
    """Pictures in files.

    Args:
      paths: of the pictures.
      labels: one for each.
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
            sizes = list(threads.map(_size, self._paths, chunksize=_CHUNK))
        return [FileEntry(*entry) for entry in zip(self._paths, self._labels, sizes, strict=True)]


def _size(path: str) -> int:
    """Bytes of a file; -1 where it is gone."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def load_folder(
    path: str,
    split_train: str | None,
    split_test: str | None,
    skipped: Skipped,
    with_train: bool = True,
) -> tuple[FolderSource | None, FolderSource | None, list[str]]:
    """Finds the pictures of a folder.

    Args:
      path: the folder.
      split_train: name of the part to train on: a sub-folder where there are such, else "train"
        for what is not held out, or "all". By default "train", if there is one.
      split_test: the same of the part to hold out: a sub-folder, else "test" or "all". By default
        the first of `TEST_FOLDERS` there is, or the tenth that is held out.
      skipped: notes files that cannot be read.
      with_train: whether to look for the pictures of the training part, where it is a sub-folder.

    Returns:
      The training and the held-out part, either None if there is none; and the names of the
      classes, in the order of the labels: sorted, by their value if all of them are numbers.

    Raises:
      ValueError: there is no such folder or part; no classes; a class without pictures; or the
        held-out part has a class that the training part has not.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"dataset imagefolder:{path}: no such folder.")
    folders = _subfolders(root)
    parts = {TRAIN_FOLDER, *TEST_FOLDERS} & set(folders)
    if TRAIN_FOLDER not in folders and parts != set(folders):
        parts = set()  # classes, one of which may be called "test"
    if not parts:
        return _load_classes(root, split_train, split_test, skipped)
    train = _chosen(root, split_train, folders, [TRAIN_FOLDER])
    test = _chosen(root, split_test, folders, TEST_FOLDERS)
    if test is None:
        return _load_classes(root / train, None, None, skipped)
    classes = _subfolders(root / (train or test))
    unknown = sorted(set(_subfolders(root / test)) - set(classes))
    if unknown:
        raise ValueError(
            f"{root / test}: {len(unknown)} classes that {root / train} has not, such as "
            f"{unknown[0]!r}."
        )
    found = None
    if train and with_train:
        found = _source(_scan(root / train, classes, skipped, complete=True))
    return found, _source(_scan(root / test, classes, skipped, complete=False)), classes


def _chosen(
    root: Path, wanted: str | None, folders: Sequence[str], defaults: Iterable[str]
) -> str | None:
    if wanted is None:
        return next((name for name in defaults if name in folders), None)
    if wanted not in folders:
        raise ValueError(f"{root}: no folder {wanted!r}. Found: {', '.join(folders)}.")
    return wanted


def _load_classes(
    folder: Path, split_train: str | None, split_test: str | None, skipped: Skipped
) -> tuple[FolderSource, FolderSource, list[str]]:
    """The two parts of a folder of classes."""
    known = (TRAIN_FOLDER, TEST_FOLDERS[0], WHOLE)
    for split in (split_train, split_test):
        if split not in (None, *known):
            raise ValueError(
                f"{folder}: has no parts but those that are made of it, {', '.join(known)}. "
                f"Received: {split!r}"
            )
    classes = _subfolders(folder)
    scanned = _scan(folder, classes, skipped, complete=True)
    held_out = {
        path
        for label in range(len(classes))
        for path in _held_out([path for path, of, _ in scanned if of == label], folder)
    }
    parts = {
        TRAIN_FOLDER: [entry for entry in scanned if entry[0] not in held_out],
        TEST_FOLDERS[0]: [entry for entry in scanned if entry[0] in held_out],
        WHOLE: scanned,
    }
    train, test = parts[split_train or TRAIN_FOLDER], parts[split_test or TEST_FOLDERS[0]]
    return _source(train), _source(test), classes


def _held_out(paths: Sequence[str], folder: Path) -> list[str]:
    """A tenth of the pictures of a class, at least one of two; chosen by their names.

    So the choice is the same on every machine, and hardly moves when pictures are added.
    """
    count = max(round(HELD_OUT * len(paths)), 1) if len(paths) > 1 else 0
    return sorted(paths, key=lambda path: (_hash(path, folder), path))[:count]


def _hash(path: str, folder: Path) -> int:
    return zlib.crc32(os.path.relpath(path, folder).encode("utf-8", "surrogateescape"))


def _subfolders(folder: Path) -> list[str]:
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    names = sorted(name for name in names if not name.startswith("."))
    if not names:
        raise ValueError(f"{folder}: expected a sub-folder for each class. Found none.")
    # ImageNet-V2 comes with the numbers of the classes, 0..999: not in the order of the letters.
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


Entry = tuple[str, int, bool]  # path, label, plain


def _scan(folder: Path, classes: Sequence[str], skipped: Skipped, complete: bool) -> list[Entry]:
    """The readable files of every class, in the order of their names.

    Args:
      folder: holds the folders of the classes.
      classes: in the order of the labels.
      skipped: notes the others.
      complete: whether every class must have a picture.
    """
    files = [
        (os.path.join(directory, name), label)
        for label, of_class in enumerate(classes)
        for directory, _, names in sorted(os.walk(folder / of_class, followlinks=True))
        for name in sorted(names)
        if not name.startswith(".")  # .DS_Store and the like
    ]
    paths = [path for path, _ in files]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    # Most of it is waiting for a disk or a network. Pillow's warnings are silenced out here, since
    # the filters of warnings are shared by all threads.
    with warnings.catch_warnings(), ThreadPoolExecutor(_THREADS) as threads:
        warnings.simplefilter("ignore")
        checked = [result for part in threads.map(_check_all, chunks) for result in part]
    entries = []
    for (path, label), result in zip(files, checked, strict=True):
        if isinstance(result, ImageError):
            skipped.add(path, result)
        else:
            entries.append((path, label, result))
    present = {label for _, label, _ in entries}
    empty = [name for label, name in enumerate(classes) if label not in present]
    if empty and (complete or len(empty) == len(classes)):
        raise ValueError(f"{folder / empty[0]}: no picture that can be read.")
    return entries


def _check_all(paths: Sequence[str]) -> list[bool | ImageError]:
    return [_check(path) for path in paths]


def _check(path: str) -> bool | ImageError:
    """Whether `tf.io` reads a picture as Pillow does; or what is wrong with the file."""
    try:
        return _is_plain(path)
    except Exception:  # Pillow raises all sorts of things, which load_image explains
        try:
            load_image(path)
        except ImageError as error:
            return error
        return False


def _is_plain(path: str) -> bool:
    """Looks at the beginning and the end of a file; raises an exception if there is a doubt."""
    from PIL import Image

    with open(path, "rb") as file:
        image = Image.open(file, formats=FORMATS)
        if image.format == "JPEG":
            upright = image.getexif().get(_EXIF_ORIENTATION, 1) == 1
            plain = upright and image.mode in ("L", "RGB")
        else:
            # Not getexif(), which decodes a PNG. GIF, BMP and WebP are rare enough for Pillow.
            plain = image.format == "PNG" and "exif" not in image.info
        width, height = image.size
        file.seek(-min(_TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
        if width * height > MAX_PIXELS or _END_MARKS.get(image.format, b"") not in file.read():
            raise ImageError(f"{path}: too large, or cut off.")
    return plain


def _source(entries: Sequence[Entry]) -> FolderSource | None:
    if not entries:
        return None
    paths, labels, plain = zip(*entries, strict=True)
    return FolderSource(paths, labels, plain)
