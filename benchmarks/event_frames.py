"""Writes synthetic frames of an event camera with joints, made by moving still pictures.

    python -m benchmarks.event_frames --data=lsp:FOLDER --output=DIR
    python -m training.main --config=keypoints --set=dataset=csv:DIR/joints.csv --output=runs/events

A picture moves along a line, at random, in small steps; a pixel gives an event whenever the
logarithm of its brightness has changed by the camera's threshold since its last one. A frame counts
the events of each pixel, of both signs, and ends at three standard deviations above 0, as frames of
DHP19 do (Calabrese et al. 2019). The joints are those of the middle of the movement. Nobody moves
in these frames but the camera, and the background moves as people do: figures of networks trained
on them are not comparable with those of DHP19. Takes some minutes for 10,000 people.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from absl import flags

from levit_common import cli
from levit_common.files import atomic_path
from levit_lite.images import ImageError
from training.keypoints.sources import load_joint_set

THRESHOLD = 0.15  # of the logarithm, about that of a DAVIS camera
STEPS = 12
_DARK = 8.0  # added to 0..255, as a camera's own noise hides small changes of dark places


def event_frame(picture: np.ndarray, movement: np.ndarray) -> np.ndarray:
    """Counts the events of a picture that moves.

    Args:
      picture: uint8 RGB (height, width, 3).
      movement: (2,) how far it moves in x and y, pixels.

    Returns:
      uint8 (height, width): 255 for three standard deviations of the counts, or more.
    """
    from scipy.ndimage import shift

    brightness = np.log(picture.astype(np.float32).mean(axis=-1) + _DARK)  # (height, width)
    counts = np.zeros_like(brightness)
    last = None
    for share in np.linspace(-0.5, 0.5, STEPS):
        there = shift(brightness, share * movement[::-1], order=1, mode="nearest")
        last = there.copy() if last is None else last
        events = np.trunc((there - last) / THRESHOLD)
        counts += np.abs(events)
        last += events * THRESHOLD
    most = 3 * counts[counts > 0].std() if (counts > 0).any() else 0.0
    return np.uint8(255 * np.clip(counts / max(most, 1.0), 0, 1))


def main() -> None:
    from PIL import Image

    args = flags.FLAGS
    data = load_joint_set(args.data)
    draws = np.random.default_rng(args.seed)
    people = [*data.train, *data.validation, *data.test][: args.people]
    joints = data.skeleton.joints
    rows = [["file", *(f"{name}_{axis}" for name in joints for axis in "xy")]]
    with atomic_path(args.output) as temporary:
        folder = Path(temporary)
        (folder / "frames").mkdir(parents=True)
        for number, person in enumerate(people):
            angle, far = draws.uniform(0, 2 * np.pi), draws.uniform(0.02, 0.06)
            try:
                picture = person.picture()
            except ImageError as error:
                print(f"left out: {error}")
                continue
            distance = far * max(picture.shape[:2])
            frame = event_frame(picture, distance * np.array([np.cos(angle), np.sin(angle)]))
            name = f"frames/{number:05d}.png"
            Image.fromarray(frame).convert("RGB").save(folder / name)
            places = [(x, y) if there else ("", "") for x, y, there in person.joints]
            rows.append([name, *(value for place in places for value in place)])
        with open(folder / "joints.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    written = len(rows) - 1
    print(f"{written} frames of {len(people)} people: {Path(args.output, 'joints.csv')}")


def define_flags() -> None:
    flags.DEFINE_string("data", None, "People, see training.keypoints.config.", required=True)
    flags.DEFINE_string("output", None, "New folder for frames and joints.csv.", required=True)
    flags.DEFINE_integer("people", 100000, "At most so many people.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the movements.")


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
