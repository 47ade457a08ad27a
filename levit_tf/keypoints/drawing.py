"""Skeletons drawn over pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from levit_common.files import atomic_path
from levit_tf.keypoints.skeletons import Skeleton

SHOWN = 0.1  # confidence from which a joint is drawn
_LEFT, _RIGHT, _MIDDLE = (255, 140, 0), (0, 170, 255), (60, 220, 60)
_COLUMNS = 6


def draw_skeleton(
    picture: np.ndarray, joints: np.ndarray, skeleton: Skeleton, shown: float = SHOWN
) -> np.ndarray:
    """Draws joints and limbs: those of the left orange, of the right blue, others green.

    Args:
      picture: uint8 RGB (height, width, 3).
      joints: (joints, 3): x, y in pixels of the picture, confidence.
      skeleton: the joints.
      shown: joints of less confidence are left out, with their limbs.

    Returns:
      A new picture.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.asarray(picture, np.uint8))
    draw = ImageDraw.Draw(image)
    width = max(2, round(max(picture.shape[:2]) / 100))
    is_shown = dict(zip(skeleton.joints, joints[:, 2] >= shown, strict=True))
    place = {name: (float(x), float(y)) for name, (x, y) in _named(skeleton, joints)}
    for ends in skeleton.limbs:
        if all(is_shown[name] for name in ends):
            draw.line([place[name] for name in ends], fill=_colour(*ends), width=width)
    for name, (x, y) in place.items():
        if is_shown[name]:
            box = [x - width, y - width, x + width, y + width]
            draw.ellipse(box, fill=_colour(name), outline=(255, 255, 255))
    return np.asarray(image)


def draw_sheet(
    pictures: np.ndarray, joints: np.ndarray, skeleton: Skeleton, path: str | os.PathLike
) -> None:
    """Draws several people side by side.

    Args:
      pictures: (people, height, width, 3), RGB 0..255.
      joints: (people, joints, 3), see `draw_skeleton`.
      skeleton: the joints.
      path: PNG file to write.
    """
    from PIL import Image

    drawn = [draw_skeleton(p, j, skeleton) for p, j in zip(pictures, joints, strict=True)]
    drawn += [np.full_like(drawn[0], 255)] * (-len(drawn) % _COLUMNS)
    rows = [np.concatenate(drawn[n : n + _COLUMNS], axis=1) for n in range(0, len(drawn), _COLUMNS)]
    with atomic_path(path, overwrite=True) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format="PNG")


def _named(skeleton: Skeleton, joints: np.ndarray):
    return zip(skeleton.joints, joints[:, :2], strict=True)


def _colour(*names: Sequence[str]) -> tuple[int, int, int]:
    sides = {name.split("_")[0] for name in names}
    if sides == {"left"}:
        return _LEFT
    return _RIGHT if sides == {"right"} else _MIDDLE
