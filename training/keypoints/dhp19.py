"""DHP19: frames of events with 13 joints, as its published tools write them.

A folder with `P_matrices/P1.npy` to `P4.npy`, the (3, 4) projections of the cameras, and for each
recording `S1_session1_mov1_7500events.h5`, whose `DVS` is (frames, 260, 344 or 346, 4), and
`..._label.h5`, whose `XYZ` is (frames, 3, 13). Subjects 1 to 12 are the training part, of which
every tenth recording is the validation, 13 to 17 the test, and the frames those of cameras 2 and 3
(Calabrese et al. 2019, "DHP19: Dynamic Vision Sensor 3D Human Pose Dataset").
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from levit_tf.keypoints.regions import whole_picture
from levit_tf.keypoints.skeletons import DHP19
from training.keypoints.people import JointSet, Person, usable

HEIGHT = 260
CAMERAS = (2, 3)
# The channel of the frames that a camera's are in.
_CHANNELS = {1: 1, 2: 3, 3: 2, 4: 0}
_NAME = re.compile(r"S(\d+)_session(\d+)_mov(\d+)_(\d+)events\.h5")
_TRAINED = range(1, 13)
_HELD_OUT = 10


def load_dhp19(folder: str | Path) -> JointSet:
    """Reads the labels of a folder of DHP19.

    Raises:
      FileNotFoundError: a file is missing; the message names it.
      ValueError: frames and labels are not of one number, or have another shape.
    """
    folder = Path(folder)
    projections = {camera: _projection(folder, camera) for camera in CAMERAS}
    recordings = sorted(p for p in folder.rglob("S*_*events.h5") if _NAME.fullmatch(p.name))
    if not recordings:
        raise FileNotFoundError(f"{folder}: no file S1_session1_mov1_7500events.h5 or the like.")
    parts: dict[str, list[Person]] = {"train": [], "validation": [], "test": []}
    for number, path in enumerate(recordings):
        part = "validation" if number % _HELD_OUT == _HELD_OUT - 1 else "train"
        if int(_NAME.fullmatch(path.name)[1]) not in _TRAINED:
            part = "test"
        parts[part] += _frames(path, projections)
    found, skipped = [], []
    for name, people in parts.items():
        if not people:
            raise ValueError(
                f"{folder}: no recording for the {name} part. It needs those of subjects 1 to 12, "
                f"{_HELD_OUT} of them at least, and of 13 to 17."
            )
        kept, left_out = usable(people, len(DHP19.joints))
        found.append(kept)
        skipped += left_out
    return JointSet(DHP19, *found, skipped)


def project(points: np.ndarray, projection: np.ndarray, width: int) -> np.ndarray:
    """Places in space to places in a frame.

    Args:
      points: (3, joints), millimetres.
      projection: (3, 4) of the camera.
      width: of the frame, pixels.

    Returns:
      (joints, 3): x, y in pixels, and whether the joint lies in the frame and was found.
    """
    u, v, w = projection @ np.vstack([points, np.ones(points.shape[1])])
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = u / w, HEIGHT - v / w  # the cameras' y points upwards
    there = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0) & (x < width) & (y < HEIGHT)
    return np.column_stack([np.where(there, x, 0), np.where(there, y, 0), there])


def _projection(folder: Path, camera: int) -> np.ndarray:
    path = folder / "P_matrices" / f"P{camera}.npy"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Expected a folder of DHP19.")
    matrix = np.load(path, allow_pickle=False)
    if matrix.shape != (3, 4):
        raise ValueError(f"{path}: expected a projection of shape (3, 4). Found: {matrix.shape}")
    return matrix


def _frames(path: Path, projections: dict[int, np.ndarray]) -> Iterator[Person]:
    label = path.with_name(path.name.replace("events.h5", "events_label.h5"))
    if not label.is_file():
        raise FileNotFoundError(f"{label}: no such file, the labels of {path.name}.")
    with h5py.File(path, "r") as frames, h5py.File(label, "r") as labels:
        shape, points = frames["DVS"].shape, labels["XYZ"][:]
    count = len(DHP19.joints)
    if len(shape) != 4 or shape[1] != HEIGHT or shape[3] != len(_CHANNELS):
        raise ValueError(
            f"{path}: expected DVS of shape (frames, {HEIGHT}, 346, 4). Found: {shape}"
        )
    if points.shape != (shape[0], 3, count):
        raise ValueError(
            f"{label}: expected XYZ of shape ({shape[0]}, 3, {count}). Found: {points.shape}"
        )
    for camera, projection in projections.items():
        for number in range(shape[0]):
            yield Person(
                f"{path}, frame {number} of camera {camera}",
                project(points[number], projection, shape[2]),
                whole_picture(HEIGHT, shape[2]),
                functools.partial(_read, path, number, _CHANNELS[camera]),
                str(path),
            )


def _read(path: Path, number: int, channel: int) -> np.ndarray:
    with h5py.File(path, "r") as frames:
        grey = frames["DVS"][number, :, :, channel]
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)
