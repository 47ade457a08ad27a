"""Reads pictures of common formats and colour modes as 8-bit RGB.

It needs Pillow, which is imported when the first picture is read.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from levit_common.picture_files import FORMATS, HEAD, format_of, not_read, printable
from levit_lite.cropping import resize_and_center_crop

if TYPE_CHECKING:
    from PIL import Image

# A small file can declare a huge picture. This number of pixels takes 1 GiB as float32 RGB; it is
# also the limit from which Pillow warns of decompression bombs.
MAX_PIXELS = 2**30 // (3 * 4)

_EXIF_ORIENTATION = 0x0112


class ImageError(ValueError):
    """A picture cannot be read. The message names the file and says why."""


def load_image(source: str | os.PathLike | bytes) -> np.ndarray:
    """Decodes a picture and turns it upright.

    Supports JPEG, PNG, GIF, BMP and WebP; for animations the first frame is used. Greyscale,
    palette and CMYK pictures are converted to RGB. Transparency is dropped, so the colours below it
    appear. Of 16 bits per channel the upper 8 are kept, as in `tf.io.decode_image`. The EXIF
    orientation is applied.

    Args:
      source: a path, or the content of a file.

    Returns:
      uint8 array of shape (height, width, 3).

    Raises:
      ImageError: the file does not exist, is a directory or empty, is not a picture of these
        formats, is truncated or damaged, or has more than `MAX_PIXELS` pixels (according to its
        header, before anything is decoded).
      ImportError: Pillow is not installed.
    """
    return np.array(_open(source))


def load_cropped(source: str | os.PathLike | bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes a picture, and resizes and crops it to a network's input size.

    Args:
      source: a path, or the content of a file.
      size: (height, width) to resize and crop to by the evaluation protocol, pixels.

    Returns:
      uint8 array of shape (*size, 3).

    Raises:
      ImageError, ImportError: see `load_image`.
    """
    return resize_and_center_crop(_open(source), size)


def _open(source: str | os.PathLike | bytes) -> Image.Image:
    """Returns the picture upright and in mode RGB; see `load_image`."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise ImageError("image bytes: empty (0 bytes).")
        return _decode(io.BytesIO(source), "image bytes")
    path = Path(source)
    name = printable(str(path))
    if not path.exists():
        raise ImageError(f"{name}: no such file.")
    if not path.is_file():
        raise ImageError(f"{name}: is a directory, or no regular file; expected a picture.")
    if path.stat().st_size == 0:
        raise ImageError(f"{name}: empty (0 bytes).")
    try:
        with path.open("rb") as file:
            return _decode(file, name)
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror}.") from error


def _decode(file: io.BufferedIOBase, name: str) -> Image.Image:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("Reading pictures needs Pillow: pip install pillow") from error

    # Pillow warns of large pictures and damaged metadata. Large pictures are refused below, with a
    # limit independent of Pillow's settings; damaged metadata does not affect the pixels.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(file, formats=FORMATS)
            _check_pixels(image, name)
            return _upright_rgb(image)
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: {_why_unidentified(file)}.") from error
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name}: its header declares {_too_large()}") from error
        except Exception as error:  # Pillow's decoders raise many types of errors for damaged data.
            raise ImageError(f"{name}: truncated or damaged: {error}.") from error


def _why_unidentified(file: io.BufferedIOBase) -> str:
    file.seek(0)
    head = file.read(HEAD)
    if format_of(head) in FORMATS:
        return "truncated or damaged at its beginning"
    return not_read(head)


def _check_pixels(image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width}x{height} pixels; {_too_large()}")


def _too_large() -> str:
    return f"more than the {MAX_PIXELS:,} pixels that are decoded at most."


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Converts a Pillow image of any mode to an upright one of mode RGB."""
    from PIL import Image

    image.load()
    orientation = _orientation(image)
    if image.mode.startswith("I"):  # 16-bit greyscale, which convert() would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image.info.pop("transparency", None)  # else convert() would try to represent it by a colour
    image = image.convert("RGB")
    # Undo the rotation or reflection with which the camera stored the picture. 1 is upright.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    if orientation in undo:
        image = image.transpose(undo[orientation])
    return image


def _orientation(image) -> int:
    """Returns the EXIF orientation, 1..8; 1 if there is none."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Damaged metadata of any kind does not make a picture unreadable.
        return 1
