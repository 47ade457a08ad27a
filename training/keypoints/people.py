"""People in pictures, with labelled joints: what every data set of joints becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from levit_lite.images import ImageError, load_image
from levit_tf.keypoints.regions import cut, is_box
from levit_tf.keypoints.skeletons import Skeleton
from training.data.sources import checksum, file_size

# What is kept around a box for augmentation to turn and move the picture without an edge.
ROOM = 1.5


@dataclasses.dataclass(frozen=True)
class Person:
    """A person in a picture.

    Attributes:
      source: the picture's file, or what else tells it apart.
      joints: (joints, 3) float: x, y in pixels of the picture, the middle of the first being 0, and
        1 where the joint is labelled, else 0.
      box: (left, top, width, height) of the person, pixels; None for that of the labelled joints.
      read: reads the picture, uint8 RGB (height, width, 3); None for the file `source`.
      file: the file that `read` opens; None for `source`.
    """

    source: str
    joints: np.ndarray
    box: tuple[float, float, float, float] | None = None
    read: Callable[[], np.ndarray] | None = None
    file: str | None = None

    def picture(self) -> np.ndarray:
        """Returns the picture, uint8 RGB (height, width, 3); raises ImageError or OSError."""
        return self.read() if self.read else load_image(self.source)


@dataclasses.dataclass(frozen=True)
class JointSet:
    """A data set of people.

    Attributes:
      skeleton: their joints.
      train: to train on.
      validation: to choose by.
      test: to judge by.
      skipped: what was left out and why, a line each.
    """

    skeleton: Skeleton
    train: Sequence[Person]
    validation: Sequence[Person]
    test: Sequence[Person]
    skipped: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Crops:
    """People cut out of their pictures, in memory.

    Attributes:
      pixels: (people, height, width, 3) uint8, `ROOM` times the input of a network.
      joints: (people, joints, 3) float32: x, y in pixels of `pixels`, and whether labelled.
      to_picture: (people, 3) float32: scale, x and y: a place p in `pixels` is scale * p + (x, y)
        of the picture.
      in_picture: (people, joints, 3) float32: the labels as they are in the pictures.
    """

    pixels: np.ndarray
    joints: np.ndarray
    to_picture: np.ndarray
    in_picture: np.ndarray


def checked_person(person: Person, count: int) -> Person | str:
    """A person whose labels and box can be used, or why they cannot.

    A joint that is labelled and is not a number is an error of the labels; one that lies outside of
    the picture is legal, and is left out where pictures are cut.
    """
    joints = np.asarray(person.joints, np.float64)
    if joints.shape != (count, 3):
        return f"{person.source}: {len(joints)} joints, expected {count}"
    there = joints[:, 2] > 0
    if not there.any():
        return f"{person.source}: no joint is labelled"
    if not np.isfinite(joints[there]).all():
        return f"{person.source}: a labelled joint is not a number"
    if person.box is not None and not is_box(person.box):
        box = ", ".join(map(str, person.box))
        return f"{person.source}: the box is no left, top, width and height with a size: {box}"
    joints = np.where(there[:, None], joints, 0)
    joints[:, 2] = there
    return dataclasses.replace(person, joints=joints)


def usable(people: Sequence[Person], count: int) -> tuple[list[Person], list[str]]:
    """Those whose labels can be used, and a line for each of the others.

    Raises:
      ValueError: there is none left.
    """
    found = [checked_person(person, count) for person in people]
    skipped = [text for text in found if isinstance(text, str)]
    kept = [person for person in found if isinstance(person, Person)]
    if not kept:
        first = f" The first: {skipped[0]}." if skipped else ""
        raise ValueError(f"There is nobody with labelled joints.{first}")
    return kept, skipped


def fingerprints(people: Sequence[Person]) -> dict[str, str]:
    """Checksums of what a network learns from people: "pictures", "joints" and "boxes".

    Of pictures they cover names and the sizes of the files, since reading them takes long.
    """
    names = (f"{person.source} {file_size(person.file or person.source)}" for person in people)
    return {
        "pictures": checksum(name.encode("utf-8", "surrogateescape") for name in names),
        # In float32: the last bits of what is computed may differ between machines.
        "joints": checksum(np.float32(person.joints).tobytes() for person in people),
        "boxes": checksum(np.float32(person.box or ()).tobytes() for person in people),
    }


def cut_out(people: Sequence[Person], size: tuple[int, int]) -> tuple[Crops, list[str]]:
    """Reads pictures and cuts people out.

    Args:
      people: with joints of the same skeleton.
      size: (height, width) of a network's input.

    Returns:
      The crops, and a line for each person who is left out: the picture cannot be read, or nobody
      can be cut out of it.

    Raises:
      ValueError: nobody is left.
    """
    kept, skipped = [], []
    for person in people:
        try:
            picture = person.picture()
        except ImageError as error:
            skipped.append(str(error))
            continue
        source, person = person.source, _within(person, picture.shape[:2])
        if person is None:
            skipped.append(f"{source}: no labelled joint lies in its picture")
            continue
        if fault := _fault_of_box(person, picture.shape[:2]):
            skipped.append(f"{source}: {fault}")
            continue
        kept.append((person, *cut(picture, box_of(person), size, ROOM)))
    if not kept:
        raise ValueError(f"Nobody can be cut out of a picture. The first: {skipped[0]}")
    to_picture = np.float32([transform for _, _, transform in kept])
    labels = np.float32([person.joints for person, _, _ in kept])
    joints = labels.copy()
    joints[..., :2] = (labels[..., :2] - to_picture[:, None, 1:]) / to_picture[:, :1, None]
    crops = Crops(np.stack([pixels for _, pixels, _ in kept]), joints, to_picture, labels)
    return crops, skipped


def _within(person: Person, sides: tuple[int, int]) -> Person | None:
    """A person without the joints that lie outside of the picture; None where no joint is left."""
    x, y, there = np.moveaxis(person.joints, -1, 0)
    inside = (there > 0) & (x > -0.5) & (y > -0.5) & (x < sides[1] - 0.5) & (y < sides[0] - 0.5)
    if not inside.any():
        return None
    joints = np.where(inside[:, None], person.joints, 0)
    joints[:, 2] = inside
    return dataclasses.replace(person, joints=joints)


def _fault_of_box(person: Person, sides: tuple[int, int]) -> str | None:
    """Why a person cannot be cut out of a picture of (height, width); None if it can be."""
    if person.box is not None:
        return None if is_box(person.box, sides) else "the box lies outside of its picture"
    if max(box_of(person)[2:]) > 0:
        return None
    return "without a box, and the labelled joints in its picture are at one place"


def box_of(person: Person) -> tuple[float, float, float, float]:
    """(left, top, width, height): the box of a person, or that of the labelled joints."""
    if person.box is not None:
        return person.box
    there = person.joints[person.joints[:, 2] > 0, :2]
    low, high = there.min(axis=0), there.max(axis=0)
    return (*low, *(high - low))
