"""Finds labelled pictures in a folder, by the class names of a network."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from levit_common.picture_files import printable
from levit_lite.class_names import composed, imagenet_class_names, imagenet_classes
from levit_lite.images import ImageError, load_image
from levit_tf.pictures.folder_layout import TEST, TRAIN, VALIDATION, class_folders, find_layout
from levit_tf.pictures.picture_folders import reason_of, scan_folders, skipped_text
from levit_tf.pictures.run_pictures import Seen, SeenPicture, find_seen, is_there, picture_key
from levit_tf.preprocessing import resize_and_center_crop

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class LabelledPictures:
    """Picture files with labels.

    Attributes:
      folder: folder of the pictures.
      paths: paths of the picture files.
      labels: label of each picture, the index of the network's class.
      size: (height, width) that the pictures are resized and cropped to.
    """

    folder: str
    paths: tuple[str, ...]
    labels: np.ndarray
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, indices: Sequence[int]) -> LabelledPictures:
        """Returns the pictures at these indices."""
        paths = tuple(self.paths[index] for index in indices)
        return dataclasses.replace(self, paths=paths, labels=self.labels[list(indices)])

    def readable(self) -> LabelledPictures:
        """Returns the pictures without those that are found damaged when they are decoded."""
        whole, damaged = [], []
        for index, path in enumerate(self.paths):
            try:
                load_image(path)
                whole.append(index)
            except ImageError as error:
                damaged.append((path, reason_of(path, error)))
        _tell_damaged(damaged)
        return self.only(whole) if damaged else self

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields RGB 0..255 (n, height, width, 3) float32 and labels, without damaged pictures."""
        damaged = []
        for start in range(0, len(self.paths), _BATCH):
            images, labels = [], []
            for path, label in zip(
                self.paths[start : start + _BATCH], self.labels[start:], strict=False
            ):
                try:
                    images.append(resize_and_center_crop(load_image(path), self.size))
                    labels.append(label)
                except ImageError as error:
                    damaged.append((path, reason_of(path, error)))
            if images:
                yield np.stack(images), np.array(labels)
        _tell_damaged(damaged)

    def sha256(self) -> str:
        """Returns a checksum of the names, labels and sizes of the pictures."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            name, size = picture_key(path, os.path.getsize(path))
            digest.update(f"{name}\t{label}\t{size}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def labelled_pictures(
    folder: str | os.PathLike,
    class_names: Sequence[str],
    size: tuple[int, int],
    seen: Seen | None = None,
    kinds: Sequence[str] = (VALIDATION, TEST),
) -> LabelledPictures:
    """Finds the pictures of a folder and their labels.

    Args:
      folder: folder with one sub-folder per class, named as in the network or, for ImageNet's
        classes, by WordNet id; or a folder with the parts of a data set. Of a folder without parts,
        or with a training part alone, those that training has held out are taken.
      class_names: class names of the network, in its order.
      size: (height, width) of the network's input.
      seen: pictures used in training, see `levit_tf.pictures.run_pictures`.
      kinds: the parts of a data set that may be used; the first of them that is there is taken.

    Raises:
      ValueError: there is no such folder, a sub-folder is not one class of the network, there are
        no pictures, one of a held-out part was used in training, or all of a folder without.
    """
    root, is_split = _held_out_part(folder, kinds, bool(seen))
    names = class_folders(root)
    labels = {name: class_label(name, class_names) for name in names}
    unknown = [name for name, label in labels.items() if label is None]
    if unknown:
        raise ValueError(
            f"{root}: the folder {unknown[0]!r} is none of the network's {len(class_names)} "
            f"classes: {', '.join(map(printable, class_names[:5]))}"
            f"{', ...' if len(class_names) > 5 else ''}. Rename it."
        )
    paths, found, skipped = [], [], []
    scanned = scan_folders([root / name for name in names])
    for name, (pictures, left_out) in zip(names, scanned, strict=True):
        paths += [picture.path for picture in pictures]
        found += [labels[name]] * len(pictures)
        skipped += left_out
    if not paths:
        raise ValueError(f"{root}: no picture that can be read.")
    print(f"{len(paths):,} pictures of {len(names)} classes in {printable(str(root))}")
    if skipped:
        print(f"  skipped: {skipped_text(skipped)}", flush=True)
    pictures = LabelledPictures(str(root), tuple(paths), np.array(found), tuple(size))
    known = {path: one for path in paths if (one := find_seen(path, seen or {}))}
    if not known:
        return pictures
    if is_split or len(known) == len(paths):
        raise ValueError(f"{root}: {_known_text(known, len(paths))}")
    listed_in = next(iter(known.values())).listed_in
    print(f"  left out: {len(known):,} that training has seen ({listed_in})", flush=True)
    return pictures.only([index for index, path in enumerate(paths) if path not in known])


def _known_text(known: Mapping[str, SeenPicture], count: int) -> str:
    """Returns a text that refuses pictures which training has seen."""
    path, one = next(iter(known.items()))
    text = (
        f"{len(known):,} of {count:,} pictures are among those that training has seen "
        f"({one.listed_in}), such as {printable(path)}. The guarantee holds only for pictures that "
        "were not used in training: give others."
    )
    lost = [one for path, one in known.items() if not is_there(one, os.path.getsize(path))]
    if not lost:
        return text
    return (
        f"{text} {len(lost):,} of them have only the name and size of a training picture, and "
        f"cannot be compared with it: {printable(lost[0].file)} is not there any more."
    )


def _tell_damaged(damaged: Sequence[tuple[str, str]]) -> None:
    if damaged:
        print(f"  found damaged and skipped: {skipped_text(damaged)}", flush=True)


def _held_out_part(
    folder: str | os.PathLike, kinds: Sequence[str], is_run_known: bool
) -> tuple[Path, bool]:
    """Returns the folder of classes, and whether it is a held-out part."""
    if not os.path.isdir(folder):
        raise ValueError(f"{os.fspath(folder)}: no such folder of pictures.")
    layout = find_layout(folder)
    if not layout.parts:
        return Path(layout.root), False
    part = next(filter(None, map(layout.of_kind, kinds)), None)
    if part is not None:
        return Path(layout.root) / part, True
    if is_run_known and set(layout.parts.values()) == {TRAIN}:  # training holds out a tenth of it
        return Path(layout.root) / layout.of_kind(TRAIN), False
    raise ValueError(
        f"{os.fspath(folder)}: has no validation or test part. Found: "
        f"{', '.join(sorted(layout.parts))}."
    )


def class_label(name: str, class_names: Sequence[str]) -> int | None:
    """Returns the index of the class that a folder is named after; None if there is none.

    Args:
      name: a class name; for ImageNet's classes also a WordNet id; for a network without class
        names, the index.
      class_names: class names of the network, in its order.

    Raises:
      ValueError: several classes have this name.
    """
    name, names = composed(name), list(map(composed, class_names))
    ids = [identifier for identifier, _ in imagenet_classes()]
    if name in ids and names == imagenet_class_names():
        return ids.index(name)  # not by name: ImageNet has two cranes, and maillots
    known = name if name in names else dict(imagenet_classes()).get(name)
    if names.count(known) > 1:
        raise ValueError(
            f"The folder {name!r}: {names.count(known)} classes of the network are named "
            f"{known!r}. Name folders by WordNet id if the classes are ImageNet's; else give each "
            "class a name of its own."
        )
    if known in names:
        return names.index(known)
    numbered = [f"class {n}" for n in range(len(names))]  # for a network without class names
    return int(name) if names == numbered and name.isdecimal() and int(name) < len(names) else None
