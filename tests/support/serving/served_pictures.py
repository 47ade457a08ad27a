"""Encoded pictures for the tests of what is served: of every kind that is decoded."""

from __future__ import annotations

import io
import random

from PIL import Image

from serving.export.signature_pictures import encode, sample_files, sample_pixels


def jpeg(seed=0, size=(120, 160), **options):
    return encode(sample_pixels(seed, size), "JPEG", **options)


def converted(file_format, image):
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


def animation(frames=3):
    file = io.BytesIO()
    pictures = [Image.fromarray(sample_pixels(n, (90, 140))).quantize(64) for n in range(frames)]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
    return file.getvalue()


def with_exif(orientation, order="MM"):
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    return jpeg(orientation, (110, 171), exif=exif)


def with_scans(count, size=(64, 64), between=b""):
    """A progressive JPEG whose last scan comes again and again: `count` in all.

    Before each repetition there are the bytes `between`.
    """
    content = jpeg(6, size, progressive=True)
    marker = b"\xff\xda"
    start = content.rindex(marker)
    scan = content[start:].removesuffix(b"\xff\xd9")
    again = count - content.count(marker)
    return content[:start] + scan + (between + scan) * again + b"\xff\xd9"


# A comment that looks like the end of a picture.
END_IN_A_COMMENT = b"\xff\xfe\0\x04\xff\xd9"


def motion_photo():
    """A JPEG with an appended video, which contains bytes that would begin a scan."""
    return jpeg(3, progressive=True) + random.Random(0).randbytes(3_000_000) + b"\xff\xda" * 99


def blank_png(side):
    """A black PNG, small whatever its side."""
    return converted("PNG", Image.new("1", (side, side)))


PICTURES = {
    **sample_files(),
    "progressive JPEG": jpeg(6, progressive=True),
    "JPEG without chroma subsampling": jpeg(7, subsampling=0),
    "CMYK JPEG": converted("JPEG", Image.fromarray(sample_pixels(8)).convert("CMYK")),
    "palette PNG": converted("PNG", Image.fromarray(sample_pixels(9, (130, 100))).quantize(32)),
    "grey and alpha PNG": encode(sample_pixels(10, (70, 80), 2), "PNG"),
    "tiny PNG": encode(sample_pixels(11, (1, 1)), "PNG"),
    "wide PNG": encode(sample_pixels(12, (3, 900)), "PNG"),
    "animated GIF": animation(),
    "BMP": encode(sample_pixels(13, (61, 77)), "BMP"),
    "RGBA BMP": encode(sample_pixels(14, (60, 50), 4), "BMP"),
    "grey BMP": encode(sample_pixels(15, (61, 77), 1)[..., 0], "BMP"),
}
