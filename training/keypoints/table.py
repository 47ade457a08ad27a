"""A CSV of joints: a line for each person, the columns named by the joints."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from levit_tf.keypoints.regions import is_box
from levit_tf.keypoints.skeletons import skeleton_of
from training.keypoints.parts import drawn_parts
from training.keypoints.people import JointSet, Person, usable

_BOX = ("left", "top", "width", "height")


def load_table(path: str | Path) -> JointSet:
    """Reads a CSV.

    The columns: `file`, relative to the CSV; for each joint NAME_x and NAME_y in pixels, the middle
    of the first being 0, empty where it is not labelled; if wanted `left`, `top`, `width` and
    `height` of the person, all empty where there is no box; who has only some of them is left out.
    Joints whose names differ in left and right are mirror images.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a column is missing, a value is no number, or a box has no size; the message
        names the line.
    """
    path = Path(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        joints = tuple(c.removesuffix("_x") for c in columns if c.endswith("_x"))
        missing = [f"{name}_y" for name in joints if f"{name}_y" not in columns]
        if "file" not in columns:
            missing.append("file")
        if missing or not joints:
            raise ValueError(
                f"{path}: expected columns file, NAME_x and NAME_y for each joint. Missing: "
                f"{', '.join(missing) or 'joints'}"
            )
        people = [
            _person(row, joints, path.parent, f"{path}, line {reader.line_num}") for row in reader
        ]
    skeleton = skeleton_of(joints)
    people, skipped = usable(people, len(joints))
    return JointSet(skeleton, *drawn_parts(people), skipped)


def _person(row, joints, folder: Path, place: str) -> Person:
    def number(column):
        text = (row[column] or "").strip()
        try:
            return float(text) if text else math.nan
        except ValueError as error:
            raise ValueError(f"{place}: {column} is no number: {text!r}") from error

    points = np.array([[number(f"{name}_x"), number(f"{name}_y")] for name in joints])
    half = np.isnan(points).sum(axis=1) == 1
    if half.any():
        raise ValueError(f"{place}: {joints[int(half.argmax())]} has one coordinate of two.")
    there = ~np.isnan(points).any(axis=1)
    box = tuple(number(name) for name in _BOX) if set(_BOX) <= set(row) else None
    if box is None or np.isnan(box).all():
        box = None
    elif not np.isnan(box).any() and not is_box(box):  # of one partly empty, `usable` tells
        raise ValueError(
            f"{place}: {', '.join(_BOX)} are four numbers, width and height more than 0, or all "
            f"empty. Found: {', '.join(row[name] or '' for name in _BOX)}"
        )
    return Person(
        str(folder / row["file"]),
        np.column_stack([np.where(there[:, None], points, 0), there]),
        box,
    )
