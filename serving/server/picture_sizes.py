"""Reads the number of pixels and scans from the headers of picture files, for any model.

A file of a few kB can declare any number of pixels, and a graph that does not check this would
decode them all.
"""

from __future__ import annotations

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 contain the sides
_ALONE = frozenset({0x01, 0xFF, *range(0xD0, 0xD9)})  # markers without a length
_SCAN = b"\xff\xda"
_MOST_SEGMENTS = 1000


def pixels(content: bytes) -> int:
    """Returns the number of pixels that a JPEG, PNG, GIF or BMP declares; 0 for anything else."""
    try:
        if content.startswith(_JPEG):
            return _jpeg_pixels(content)
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">II", content, 16)
        elif content.startswith(b"GIF8"):
            width, height = struct.unpack_from("<HH", content, 6)
        elif content.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", content, 18)
        else:
            return 0
    except struct.error:
        return 0
    return abs(width * height)


def jpeg_scans(content: bytes) -> int:
    """Returns the number of scans of a JPEG, which may each cover the picture; 0 for others."""
    return content.count(_SCAN) if content.startswith(_JPEG) else 0


def _jpeg_pixels(content: bytes) -> int:
    position = 2
    for _ in range(_MOST_SEGMENTS):
        start, marker = struct.unpack_from(">BB", content, position)
        if start != 0xFF:
            return 0
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return height * width
        if marker in _ALONE:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + struct.unpack_from(">H", content, position + 2)[0]
    return 0
