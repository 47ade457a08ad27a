"""Networks that find joints beside MediaPipe's pose landmarker: time of a picture, and PCK@0.2.

    python -m benchmarks.pose --models=runs/joints/fp32.tflite,runs/joints/int8.tflite \\
        --task=pose_landmarker_lite.task --data=lsp:FOLDER

Each contender in a process of its own, pinned to one core, in turns: from a decoded picture of the
test part to joints in its pixels, with whatever it does in between. MediaPipe finds the person
first and then the joints, in its mode for single pictures; ours take the whole picture as the
person's. PCK@0.2 is over the joints that both have; of a person that MediaPipe does not find, all
are wrong. Needs the package mediapipe, and its file.
"""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.support import contenders, options, results
from converters.speed.turns import serve_turns
from levit_common import cli
from levit_tf.keypoints.measures import measure
from levit_tf.keypoints.skeletons import Skeleton
from training.keypoints.people import Person
from training.keypoints.sources import load_joint_set

# Numbers of MediaPipe's landmarks, from its documentation of the pose landmarker.
_LEFT = {"shoulder": 11, "elbow": 13, "wrist": 15, "hip": 23, "knee": 25, "ankle": 27}
LANDMARKS = {
    f"{side}_{joint}": number + (side == "right")
    for side in ("left", "right")
    for joint, number in _LEFT.items()
}
COLUMNS = ("network", "ms", "people found, %", "PCK@0.2, %", "joints compared")
_NOWHERE = -1e6  # pixels

Find = Callable[[np.ndarray], np.ndarray | None]


def ours(path: str) -> Find:
    """A file of ours: a picture to the joints of `LANDMARKS`, (joints, 2)."""
    from levit_tf.keypoints.finding import load_finder

    finder = load_finder(path)
    chosen = [finder.skeleton.joints.index(name) for name in LANDMARKS]
    return lambda picture: finder.find(picture)[chosen, :2]


def mediapipes(path: str) -> Find:
    """MediaPipe's landmarker, likewise; None where it finds nobody."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    settings = vision.PoseLandmarkerOptions(BaseOptions(model_asset_path=path))
    landmarker = vision.PoseLandmarker.create_from_options(settings)
    atexit.register(landmarker.close)  # it cannot close itself once the interpreter ends

    def find(picture: np.ndarray) -> np.ndarray | None:
        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(picture))
        people = landmarker.detect(image).pose_landmarks
        if not people:
            return None
        height, width = picture.shape[:2]
        points = [(people[0][n].x * width, people[0][n].y * height) for n in LANDMARKS.values()]
        return np.array(points) - 0.5

    return find


def opened(path: str) -> Find:
    """Opens a contender by its file."""
    return mediapipes(path) if path.endswith(".task") else ours(path)


def quality(find: Find, people: list[Person], skeleton: Skeleton) -> tuple[float, float, int]:
    """The share of people that are found, PCK@0.2 of their joints, and how many were compared."""
    chosen = [skeleton.joints.index(name) for name in LANDMARKS]
    labelled = np.array([person.joints[chosen] for person in people])
    found = [find(person.picture()) for person in people]
    places = [np.full((len(chosen), 2), _NOWHERE) if one is None else one for one in found]
    shared = Skeleton("shared", tuple(LANDMARKS), torso=skeleton.torso)
    measured = measure(np.array(places), labelled, shared)
    return np.mean([one is not None for one in found]), measured.pck, measured.joints


def main() -> None:
    args = flags.FLAGS
    data = load_joint_set(args.data)
    people = list(data.test)[: args.people]
    if args.worker:
        pictures = itertools.cycle([person.picture() for person in people[: args.timed]])
        find = opened(args.worker)
        serve_turns(lambda: find(next(pictures)))
        return
    files = [*args.models, *([args.task] if args.task else [])]
    started = {
        file: contenders.start(1, worker=file, data=args.data, people=args.people, timed=args.timed)
        for file in files
    }
    times = contenders.race(started)
    rows = []
    for file in files:
        share, pck, count = quality(opened(file), people, data.skeleton)
        name = str(Path(*Path(file).parts[-2:]))
        rows.append((name, times[file].ms, 100 * share, 100 * pck, count))
    results.publish("pose", COLUMNS, rows, args.output)


def define_flags() -> None:
    flags.DEFINE_list("models", [], "Our files.")
    flags.DEFINE_string("task", None, "MediaPipe's file, pose_landmarker_lite.task or another.")
    flags.DEFINE_string("data", None, "People, see training.keypoints.config.", required=True)
    flags.DEFINE_integer("people", 1000, "People of the test part to judge by.", lower_bound=1)
    flags.DEFINE_integer("timed", 64, "Pictures to measure the time with.", lower_bound=1)
    options.define_race(turns=7)


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
