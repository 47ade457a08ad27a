"""Decides which files of a folder are pictures; every tool that takes a folder uses this rule.

A file is judged by its first bytes, not by its name. Files that systems and editors leave in
folders (`SYSTEM_NAMES`, hidden files) are ignored; any other file that is not a picture of
`FORMATS` is reported with a reason.

This module imports only the standard library, because the load test starts without Keras.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

# Supported formats, by Pillow's names.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
HEAD = 64  # number of bytes that `format_of` needs

# In lower case: macOS archives, Windows, Synology, ext4. Names with a leading dot are ignored too.
SYSTEM_NAMES = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "lost+found",
    }
)

_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    # Picture formats that are not supported.
    b"II*\0": "TIFF",  # also cameras' raw formats, which are variants of TIFF
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "PSD",
    b"\0\0\x01\0": "ICO",
    b"%PDF-": "PDF",
    b"<svg": "SVG",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"qoif": "QOI",
    b"DDS ": "DDS",
}
# Control characters, line and paragraph separators, directions of writing, surrogates.
_NOT_PRINTED = re.compile(r"[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # possible sizes of BMP's second header, in bytes


def format_of(head: bytes) -> str | None:
    """Returns the format of a picture file, judged by its first bytes.

    Args:
      head: the first `HEAD` bytes of a file, or all of them if it is shorter.

    Returns:
      One of `FORMATS`; the name of an unsupported format, such as "TIFF"; or None if the file is
      not a picture.
    """
    for beginning, name in _BEGINNINGS.items():
        if head.startswith(beginning):
            return name
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":  # followed by a list of brands; the first is the main one
        brands = head[8 : int.from_bytes(head[:4], "big")]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        is_picture = any(brand in brands for brand in (b"hei", b"hev", b"mif1", b"msf1"))
        return "HEIC" if is_picture else "MP4 or another video"
    if head[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6") and head[2:3].isspace():
        return "PNM"
    return None


def not_read(head: bytes) -> str:
    """Returns the reason why a file with these first bytes is not supported, for a message."""
    found = format_of(head)
    reason = f"format {found} is not read" if found else "no picture, or damaged at its beginning"
    return f"{reason}; expected {', '.join(FORMATS)}"


def is_passed_over(name: str) -> bool:
    """Returns whether a name is that of a hidden or system file or folder, which is ignored."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def walk(folder: str | os.PathLike) -> tuple[list[str], list[tuple[str, str]]]:
    """Lists the files of a folder and its sub-folders; links are followed, but not in cycles.

    Args:
      folder: the folder.

    Returns:
      Paths, sorted by folder and name; and (path, reason) of everything that is not a file or
      cannot be read.
    """
    files: list[tuple[str, str]] = []
    refused: list[tuple[str, str]] = []
    ahead: list[tuple[str, frozenset]] = [(os.fspath(folder), frozenset())]
    while ahead:
        path, above = ahead.pop()
        try:
            found = os.stat(path)
            entries = list(os.scandir(path))
        except OSError as error:
            refused.append((path, f"folder that cannot be read: {error.strerror}"))
            continue
        key = (found.st_dev, found.st_ino)
        if key in above:
            refused.append((path, "link to a folder that it is in"))
            continue
        for entry in entries:
            if is_passed_over(entry.name):
                continue
            kind = _kind(entry)
            if kind == "folder":
                ahead.append((entry.path, above | {key}))
            elif kind == "file":
                files.append((path, entry.name))
            else:
                refused.append((entry.path, kind))
    return [os.path.join(*file) for file in sorted(files)], sorted(refused)


def expanded(paths: Iterable[str]) -> Iterator[str]:
    """Yields paths, and for a folder the pictures in it and in its sub-folders.

    A folder without pictures is yielded itself; reading it will report that it is no picture.
    """
    for path in paths:
        files = [file for file in walk(path)[0] if _is_picture(file)] if os.path.isdir(path) else []
        yield from files or [path]


def _is_picture(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return format_of(file.read(HEAD)) is not None
    except OSError:
        return True  # reading it will report the reason


def _kind(entry: os.DirEntry) -> str:
    """Returns "file", "folder", or the reason why an entry is neither."""
    if entry.is_file(follow_symlinks=False):
        return "file"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return f"link that leads nowhere: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "folder"
    # Reading a pipe or a device may never end.
    return "file" if stat.S_ISREG(mode) else "neither a file nor a folder"


def distinct_stems(paths: Sequence[str]) -> list[str]:
    """Returns a name for what is made of each picture: its stem, numbered where stems repeat."""
    seen: Counter[str] = Counter()
    names = []
    for stem in (os.path.splitext(os.path.basename(path))[0] for path in paths):
        seen[stem] += 1
        names.append(stem if seen[stem] == 1 else f"{stem}-{seen[stem]}")
    # A picture may be named like a numbered one: a.jpg, a.png, a-2.jpg.
    return names if len({*names}) == len(names) else [f"{n}-{x}" for n, x in enumerate(names, 1)]


def printable(name: str) -> str:
    """Escapes what a file name must not print: breaks, terminal codes, undecodable bytes.

    Also the codes that turn the direction of writing, which show another name than there is. Other
    characters that `str.isprintable` has not stay: names of many languages need them.
    """
    return _NOT_PRINTED.sub(lambda found: ascii(found[0])[1:-1], name)
