"""Finds the pictures in folders: which files can be read, and what is wrong with the others.

Every tool that is given a folder reads it with `scan_folders` or `pictures_in`, so that all tools
take the same files. The header of every file is checked first, which takes about a minute for a
million files: files that are empty, not pictures, too large or truncated are skipped and reported.
Damage that only decoding can find is handled when it is found.

This module imports no backend; it imports Pillow when it checks the first file.
"""

from __future__ import annotations

import itertools
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from levit_common.arrays import spread_indices
from levit_common.picture_files import FORMATS, printable, walk
from levit_lite.images import MAX_PIXELS, ImageError, load_image
from levit_tf.preprocessing import resize_and_center_crop

SHOWN_SKIPPED = 20

_THREADS = 16
_CHUNK = 256  # number of files that a thread takes at once
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 64  # bytes; some cameras and servers append a few bytes after the end mark
_EXIF_ORIENTATION = 0x0112

Skipped = tuple[str, str]  # path, reason


class Picture(NamedTuple):
    """A picture file.

    Attributes:
      path: path of the file.
      is_jpeg: whether it is a JPEG file.
      is_plain: whether `tf.io` decodes it like Pillow: JPEG or PNG, upright, not CMYK.
    """

    path: str
    is_jpeg: bool
    is_plain: bool


def scan_folders(
    folders: Sequence[str | os.PathLike],
) -> list[tuple[list[Picture], list[Skipped]]]:
    """Checks all files in folders and their sub-folders.

    Args:
      folders: the folders.

    Returns:
      For each folder its pictures, in the order of `levit_common.picture_files.walk`, and the
      skipped files.
    """
    walked = [walk(folder) for folder in folders]
    paths = [path for found, _ in walked for path in found]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    # Threads, since most of the time is spent waiting for a disk or a network. Pillow's warnings
    # are silenced here and not in the threads, because all threads share the warning filters.
    with warnings.catch_warnings(), ThreadPoolExecutor(_THREADS) as threads:
        warnings.simplefilter("ignore")
        checked = (result for part in threads.map(_check_all, chunks) for result in part)
        return [_sorted_out(found, refused, checked) for found, refused in walked]


def _sorted_out(
    paths: Sequence[str], refused: Sequence[Skipped], checked: Iterator[Picture | ImageError]
) -> tuple[list[Picture], list[Skipped]]:
    """Splits the results for `paths` in `checked` into pictures and skipped files."""
    pictures, skipped = [], list(refused)
    for path, result in zip(paths, itertools.islice(checked, len(paths)), strict=True):
        if isinstance(result, ImageError):
            skipped.append((path, reason_of(path, result)))
        else:
            pictures.append(result)
    return pictures, skipped


def pictures_in(folder: str | os.PathLike, what: str) -> tuple[list[str], list[Skipped]]:
    """Returns the pictures in a folder and its sub-folders, whatever the sub-folders mean.

    Args:
      folder: the folder.
      what: beginning of the error message, such as the flag that named the folder.

    Returns:
      Sorted paths of the pictures, and the skipped files.

    Raises:
      ValueError: there is no such folder, or no picture in it.
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise ValueError(f"{what}: no such folder: {folder!r}.")
    ((pictures, skipped),) = scan_folders([folder])
    if not pictures:
        first = [f"{printable(os.path.basename(path))}: {reason}" for path, reason in skipped[:1]]
        seen = f" Left out {len(skipped):,} files, such as {first[0]}" if skipped else ""
        raise ValueError(
            f"{what}: no pictures in {folder!r}; looked for {', '.join(FORMATS)}.{seen}"
        )
    return [picture.path for picture in pictures], skipped


def load_spread(
    folder: str | os.PathLike, count: int, size: tuple[int, int] | None, what: str
) -> list[np.ndarray]:
    """Loads some pictures of a folder and its sub-folders; prints what it found before it decodes.

    Args:
      folder: the folder.
      count: largest number of pictures, chosen at equal distances; a damaged picture is replaced by
        the next one.
      size: (height, width) to resize and crop to by the evaluation protocol; None to keep sizes.
      what: beginning of messages, such as the flag that named the folder.

    Returns:
      RGB pictures 0..255: float32 of shape (*size, 3), or uint8 in their original sizes.

    Raises:
      ValueError: no such folder, or no picture in it that can be read.
    """
    paths, skipped = pictures_in(folder, what)
    count = min(count, len(paths))
    print(f"{what}: {count:,} of {len(paths):,} pictures in {printable(os.fspath(folder))}")
    if skipped:
        print(f"  skipped: {skipped_text(skipped)}", flush=True)
    wanted = spread_indices(len(paths), count).tolist()
    following = sorted(set(range(len(paths))) - set(wanted))
    images, damaged = [], []
    while wanted:
        index = wanted.pop(0)
        try:
            image = load_image(paths[index])
        except ImageError as error:
            damaged.append((paths[index], reason_of(paths[index], error)))
            other = next((n for n in following if n > index), following[0] if following else None)
            if other is not None:
                following.remove(other)
                wanted.insert(0, other)
            continue
        images.append(image if size is None else resize_and_center_crop(image, size))
    if damaged:
        print(f"  found damaged and skipped: {skipped_text(damaged)}", flush=True)
    if not images:
        raise ValueError(f"{what}: no picture in {os.fspath(folder)!r} can be read.")
    return images


def skipped_text(skipped: Sequence[Skipped], shown: int = SHOWN_SKIPPED) -> str:
    """Describes skipped files: their number, and the first names with reasons, one per line."""
    lines = [f"    {printable(path)}: {printable(reason)}" for path, reason in skipped[:shown]]
    if len(skipped) > shown:
        lines.append(f"    and {len(skipped) - shown:,} more")
    return "\n".join([f"{len(skipped):,}", *lines])


def reason_of(path: str, error: ImageError) -> str:
    """Returns the reason of an error without the file name before it."""
    return str(error).removeprefix(f"{printable(path)}: ").removeprefix("image bytes: ")


def _check_all(paths: Sequence[str]) -> list[Picture | ImageError]:
    return [_check(path) for path in paths]


def _check(path: str) -> Picture | ImageError:
    """Returns the picture in a file, or the error that says what is wrong with it."""
    try:
        return _look_at(path)
    except Exception:  # Pillow raises many types of errors; load_image explains them
        try:
            load_image(path)
        except ImageError as error:
            return error
        return Picture(path, is_jpeg=False, is_plain=False)


def _look_at(path: str) -> Picture:
    """Checks the beginning and the end of a file; raises an exception in case of doubt."""
    from PIL import Image

    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: no regular file.")
        image = Image.open(file, formats=FORMATS)
        is_jpeg = image.format == "JPEG"
        if is_jpeg:
            upright = image.getexif().get(_EXIF_ORIENTATION, 1) == 1
            plain = upright and image.mode in ("L", "RGB")
        else:
            # Not getexif(), which decodes a PNG. Pillow decodes GIF, BMP and WebP, which are rare.
            plain = image.format == "PNG" and "exif" not in image.info
        width, height = image.size
        file.seek(-min(_TAIL, status.st_size), os.SEEK_END)
        if width * height > MAX_PIXELS or _END_MARKS.get(image.format, b"") not in file.read():
            raise ImageError(f"{path}: too large, or cut off.")
    return Picture(path, is_jpeg, plain)
