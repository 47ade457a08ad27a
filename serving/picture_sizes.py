"""Reads the number of pixels and scans from the headers of picture files, for any model.

A file of a few kB can declare any number of pixels and frames, and a graph that does not check this
would decode them all.

Sources: the blocks of GIF89a; RFC 9649 for WebP.
"""

from __future__ import annotations

import re
import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 contain the sides
_ALONE = frozenset({0x01, 0xFF, *range(0xD0, 0xD9)})  # markers without a length
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
# A marker that begins a segment or ends the picture. Coded pixels contain other ones only.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_MOST_SEGMENTS = 1000
_GIF_EXTENSION, _GIF_FRAME = b"!,"
# Parts usually have 255 bytes. Reading a large file of tiny parts would take seconds.
_GIF_STEPS, _GIF_BYTES_PER_STEP = 4096, 16
_TOO_MANY = 2**63


def pixels(content: bytes) -> int:
    """Returns the number of pixels that a picture file declares, in all of its frames together.

    Args:
      content: a JPEG, PNG, GIF, WebP or BMP file, maybe damaged; 0 is returned for anything else. A
        GIF of too many blocks to read counts as more than any limit.
    """
    try:
        if content.startswith(_JPEG):
            return _jpeg_pixels(content)
        if content.startswith(b"GIF8"):
            return _gif_pixels(content)
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return _webp_pixels(content)
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">II", content, 16)
        elif content.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", content, 18)
        else:
            return 0
    except struct.error:
        return 0
    return abs(width * height)


def jpeg_scans(content: bytes) -> int:
    """Returns the number of scans of a JPEG, which may each cover the picture; 0 for others.

    What follows the picture's end does not count: phones append a video or a second picture. In a
    file of too many segments to read it does.
    """
    if not content.startswith(_JPEG):
        return 0
    scans, position = 0, 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(content, position)
        if found is None or found[0] == _END:
            return scans
        scans += found[0] == _SCAN
        length = int.from_bytes(content[found.end() : found.end() + 2], "big")
        position = found.end() + max(length, 2)
    return content.count(_SCAN)


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


def _gif_pixels(content: bytes) -> int:
    """Counts each frame as TensorFlow stores it, with the largest width and the largest height."""
    width, height = struct.unpack_from("<HH", content, 6)  # of the canvas
    frames, in_data = 0, False
    try:
        position = 13 + _gif_table_bytes(content[10])
        for _ in range(_GIF_STEPS + len(content) // _GIF_BYTES_PER_STEP):
            kind = content[position]
            if in_data:  # in parts, of which the last one is empty
                position += 1 + kind
                in_data = kind > 0
                continue
            if kind == _GIF_FRAME:
                sides = struct.unpack_from("<HH", content, position + 5)
                width, height = max(width, sides[0]), max(height, sides[1])
                frames += 1
                position += 11 + _gif_table_bytes(content[position + 9])
            elif kind == _GIF_EXTENSION:
                position += 2
            else:
                break
            in_data = True
        else:
            return _TOO_MANY
    except (IndexError, struct.error):
        pass  # the frames before the end of a truncated file are decoded
    return width * height * max(frames, 1)


def _gif_table_bytes(flags: int) -> int:
    return 6 << (flags & 7) if flags & 0x80 else 0


def _webp_pixels(content: bytes) -> int:
    kind = content[12:16]
    if kind == b"VP8X":  # with a canvas, and maybe animated
        width, w_high, height, h_high = struct.unpack_from("<HBHB", content, 24)
        width, height = 1 + width + (w_high << 16), 1 + height + (h_high << 16)
        return width * height * max(content.count(b"ANMF"), 1)
    if kind == b"VP8L":
        (sides,) = struct.unpack_from("<I", content, 21)
        return (1 + (sides & 0x3FFF)) * (1 + (sides >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return (width & 0x3FFF) * (height & 0x3FFF)
    return 0
