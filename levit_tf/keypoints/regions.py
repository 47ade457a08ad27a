"""Which part of a picture a network that finds joints is shown, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]  # left, top, width, height in pixels
# A region is that much larger than the box of the joints, so that hands and feet are in it.
BOX_MARGIN = 1.25
SMALLEST_SCALE = 1e-3


def is_box(box: Sequence[float | None], picture: tuple[int, int] | None = None) -> bool:
    """Whether a box has a size, and lies in a picture at least in part.

    Args:
      box: what should be (left, top, width, height).
      picture: (height, width), pixels; None if it is not known yet.
    """
    try:
        numbers = np.asarray(box, np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        return False
    if numbers.shape != (4,) or not np.isfinite(numbers).all() or min(numbers[2:]) <= 0:
        return False
    left, top, width, height = numbers
    if picture is None:
        return True
    return left < picture[1] and top < picture[0] and left + width > 0 and top + height > 0


def whole_picture(height: int, width: int) -> Box:
    """The box for which the region that a network sees is the whole picture."""
    inner = [side / BOX_MARGIN for side in (width, height)]
    return (width - inner[0]) / 2 - 0.5, (height - inner[1]) / 2 - 0.5, *inner


def region_of(box: Box, size: tuple[int, int], room: float = 1.0) -> tuple[float, float, float]:
    """(left, top, scale) of the region that is shown to a network for a box.

    It has the shape of the input, the box in its middle with a margin, and is `room` times as
    large; a pixel of the input is `scale` pixels of the picture.
    """
    left, top, width, height = box
    scale = max(BOX_MARGIN * max(width / size[1], height / size[0]), SMALLEST_SCALE)
    sides = scale * room * size[1], scale * room * size[0]
    return left + width / 2 - sides[0] / 2, top + height / 2 - sides[1] / 2, scale


def cut(
    picture: np.ndarray, box: Box, size: tuple[int, int], room: float = 1.0
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Pixels of the region around a box, and the way back to the picture.

    Args:
      picture: uint8 RGB (height, width, 3); what lies outside of it is black.
      box: see `region_of`.
      size: (height, width) of a network's input.
      room: see `region_of`.

    Returns:
      uint8 of `room` times `size`, and (scale, x, y): a place p in it is scale * p + (x, y) of the
      picture.
    """
    from PIL import Image

    rows, columns = (round(room * side) for side in size)
    left, top, scale = region_of(box, size, room)
    edges = [round(edge) for edge in (left, top, left + scale * columns, top + scale * rows)]
    right, bottom = max(edges[2], edges[0] + 1), max(edges[3], edges[1] + 1)
    region = Image.fromarray(picture).crop((edges[0], edges[1], right, bottom))
    pixels = np.asarray(region.resize((columns, rows), Image.Resampling.BILINEAR))
    scale = (right - edges[0]) / columns
    # The middle of the first pixel is 0 in both.
    offset = 0.5 * scale - 0.5
    return pixels, (scale, edges[0] + offset, edges[1] + offset)
