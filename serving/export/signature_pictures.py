"""Synthetic pictures for warm-up and for checks, so that no photographs are needed."""

from __future__ import annotations

import io

import numpy as np

# The size of a photograph from the web, larger than the network's input.
_SIZE = (300, 400)


def encode(pixels: np.ndarray, file_format: str, **options) -> bytes:
    """Encodes a picture.

    Args:
      pixels: an array as for `PIL.Image.fromarray`.
      file_format: format, such as "JPEG".
      **options: options of Pillow's encoder.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def sample_pixels(seed: int = 0, size: tuple[int, int] = _SIZE, channels: int = 3) -> np.ndarray:
    """Makes smooth colours with fine noise: uint8 (*size, channels), the same for the same seed."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.uniform(0, 255, (-(-height // 40), -(-width // 40), channels))
    smooth = coarse.repeat(40, axis=0).repeat(40, axis=1)[:height, :width]
    return (smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)


def sample_files() -> dict[str, bytes]:
    """Makes encoded pictures of the kinds that clients send, by a description of each."""
    colour, grey = sample_pixels(1), sample_pixels(2, (500, 333), 1)[..., 0]
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    return {
        "JPEG": encode(colour, "JPEG", quality=90),
        "turned JPEG": encode(sample_pixels(3, (280, 210)), "JPEG", exif=exif),
        "grey JPEG": encode(grey, "JPEG"),
        "PNG": encode(sample_pixels(4, (120, 90)), "PNG"),
        "RGBA PNG": encode(sample_pixels(5, (90, 120), 4), "PNG"),
        "16-bit PNG": encode(grey.astype(np.uint16) * 257, "PNG"),
    }
