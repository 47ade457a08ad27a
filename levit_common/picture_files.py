"""Which files of a folder are pictures: the one rule for every tool that is given a folder.

What counts is what a file begins with, not how it is called. What systems and editors leave behind
in folders (`SYSTEM_NAMES`, hidden files) is passed over; everything else that is no picture of
`FORMATS` is told with its reason.

Only the standard library is imported here: the load test starts without Keras.
"""

from __future__ import annotations

import os
import stat

# Formats that are read, by the names that Pillow gives them.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
HEAD = 64  # bytes that `format_of` looks at

# Lower case: macOS in archives, Windows, Synology, ext4; hidden ones begin with a dot anyway.
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
    # Others by which people keep pictures.
    b"II*\0": "TIFF",  # camera's raw formats, too, which are dialects of it
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
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes of the header that follows, in bytes


def format_of(head: bytes) -> str | None:
    """The format of a picture by its beginning.

    Args:
      head: the first bytes of a file, `HEAD` of them if there are as many.

    Returns:
      One of `FORMATS`; the name of a format that is not read, such as "TIFF"; or None for what is
      no picture.
    """
    for beginning, name in _BEGINNINGS.items():
        if head.startswith(beginning):
            return name
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":  # a box of brands, the first of which is the main one
        brands = head[8 : int.from_bytes(head[:4], "big")]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        is_picture = any(brand in brands for brand in (b"hei", b"hev", b"mif1", b"msf1"))
        return "HEIC" if is_picture else "MP4 or another video"
    if head[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6") and head[2:3].isspace():
        return "PNM"
    return None


def not_read(head: bytes) -> str:
    """Why a file that begins as none of `FORMATS` is not read, for a message."""
    found = format_of(head)
    reason = f"format {found} is not read" if found else "no picture, or damaged at its beginning"
    return f"{reason}; expected {', '.join(FORMATS)}"


def is_passed_over(name: str) -> bool:
    """Whether a file or a folder of this name is nothing that a person has put there."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def walk(folder: str | os.PathLike) -> tuple[list[str], list[tuple[str, str]]]:
    """The files of a folder and its sub-folders; links are followed, but not in circles.

    Args:
      folder: the folder.

    Returns:
      Paths, sorted by their folder and name; and (path, reason) of what is no file or cannot be
      looked into.
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


def _kind(entry: os.DirEntry) -> str:
    """ "file", "folder", or why it is neither."""
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
    # Of a pipe nobody knows when it ends.
    return "file" if stat.S_ISREG(mode) else "neither a file nor a folder"


def printable(name: str) -> str:
    """A file's name for the screen: line breaks, terminal codes and undecodable bytes escaped."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
