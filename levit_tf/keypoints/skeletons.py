"""Skeletons: the joints of a data set by name, and what is known of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

_RIGHT_OF = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
_OTHER_SIDE = _RIGHT_OF | {right: left for left, right in _RIGHT_OF.items()}
# A letter alone (l_eye, hand.R) or before a capital (LEye), or the word (left_eye, eyeLeft).
_SIDE = re.compile(
    r"(?<![^\W_])[LlRr](?:(?![^\W_])|(?=[A-Z][a-z]))"
    r"|(?<![^\W\d_])(?:left|right)|Left|Right|LEFT|RIGHT"
)


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """The joints of a body, in the order in which a data set lists them.

    Attributes:
      name: of the skeleton.
      joints: names; those of a left and a right one differ in the side only, such as left_eye and
        right_eye, EyeLeft and EyeRight, or l_eye and r_eye.
      limbs: pairs of names that a drawing connects.
      torso: two joints whose distance is the measure of PCK; None where there are none.
      head: two joints whose distance is the measure of PCKh; None where there are none.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...] = ()
    torso: tuple[str, str] | None = None
    head: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        named = [
            joint for pair in (*self.limbs, self.torso or (), self.head or ()) for joint in pair
        ]
        unknown = [joint for joint in named if joint not in self.joints]
        if unknown or len(set(self.joints)) < len(self.joints) or not self.joints:
            raise ValueError(
                f"Skeleton {self.name!r}: joints need names that differ, and limbs, torso and head "
                f"name joints. Received: {self.joints}" + (f"; no {unknown[0]}" if unknown else "")
            )

    @property
    def mirrored(self) -> list[int]:
        """For each joint the index of the one that takes its place in a mirrored picture."""
        return [self.joints.index(_other_side(name, self.joints)) for name in self.joints]

    @property
    def sides(self) -> list[tuple[str, str]]:
        """Pairs of names that a mirrored picture exchanges."""
        found = zip(self.joints, (self.joints[n] for n in self.mirrored), strict=True)
        return [(a, b) for a, b in found if self.joints.index(a) < self.joints.index(b)]

    @property
    def one_sided(self) -> list[str]:
        """Names of a left or a right joint without the other one."""
        paired = {name for pair in self.sides for name in pair}
        return [name for name in self.joints if _SIDE.search(name) and name not in paired]

    def pair(self, names: tuple[str, str]) -> tuple[int, int]:
        """Indices of two joints."""
        return self.joints.index(names[0]), self.joints.index(names[1])


def _other_side(name: str, joints: Sequence[str]) -> str:
    other = _SIDE.sub(lambda side: _OTHER_SIDE[side[0]], name)
    return other if other in joints else name


_ARMS_AND_LEGS = tuple(
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (
        ("hip", "knee"),
        ("knee", "ankle"),
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
    )
)
_TRUNK = (
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
)
_TORSO = ("left_shoulder", "right_hip")

LSP = Skeleton(
    "lsp",
    (
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("right_wrist", "right_elbow", "right_shoulder"),
        *("left_shoulder", "left_elbow", "left_wrist"),
        *("neck", "head_top"),
    ),
    (*_ARMS_AND_LEGS, *_TRUNK, ("neck", "head_top")),
    _TORSO,
    ("neck", "head_top"),
)
COCO = Skeleton(
    "coco",
    (
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
        *("left_wrist", "right_wrist", "left_hip", "right_hip"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    (*_ARMS_AND_LEGS, *_TRUNK, ("nose", "left_eye"), ("nose", "right_eye")),
    _TORSO,
)
DHP19 = Skeleton(
    "dhp19",
    (
        *("head", "right_shoulder", "left_shoulder", "right_elbow", "left_elbow"),
        *("left_hip", "right_hip", "right_wrist", "left_wrist"),
        *("right_knee", "left_knee", "right_ankle", "left_ankle"),
    ),
    (*_ARMS_AND_LEGS, *_TRUNK),
    _TORSO,
)


def skeleton_of(joints: Sequence[str]) -> Skeleton:
    """The skeleton of joints by name: what known skeletons say of two joints that are both there.

    Args:
      joints: names, in their order. Where they are those of a known skeleton, it has its name.
    """
    known, names = (LSP, COCO, DHP19), set(joints)
    limbs = dict.fromkeys(limb for skeleton in known for limb in skeleton.limbs)
    return Skeleton(
        next((skeleton.name for skeleton in known if set(skeleton.joints) == names), "joints"),
        tuple(joints),
        tuple(limb for limb in limbs if names.issuperset(limb)),
        _TORSO if names.issuperset(_TORSO) else None,
        LSP.head if names.issuperset(LSP.head) else None,
    )
