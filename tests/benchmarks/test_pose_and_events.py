"""Synthetic frames of events, and the comparison with MediaPipe's landmarks."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.event_frames import event_frame
from benchmarks.pose import LANDMARKS, quality
from levit_tf.keypoints.skeletons import LSP
from training.keypoints.people import Person
from training.keypoints.sources import load_joint_set


def edge():
    picture = np.full((20, 40, 3), 40, np.uint8)
    picture[:, 20:] = 200
    return picture


def test_a_picture_that_does_not_move_gives_no_event():
    assert not event_frame(edge(), np.zeros(2)).any()


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_edge_that_moves_gives_events_where_it_passes(sign):
    frame = event_frame(edge(), np.array([sign * 6.0, 0.0]))
    assert frame[:, 18:22].all()
    assert not frame[:, :15].any()
    assert not frame[:, 25:].any()


def test_an_edge_that_moves_along_itself_gives_none():
    assert not event_frame(edge(), np.array([0.0, 5.0])).any()


def test_a_person_who_is_not_found_counts_as_wrong():
    joints = np.ones((len(LSP.joints), 3))
    joints[:, 0] = np.arange(len(joints)) * 10
    people = [Person("one", joints, read=lambda: None) for _ in range(2)]
    chosen = [LSP.joints.index(name) for name in LANDMARKS]
    answers = iter([joints[chosen, :2] + [0.5, 0], None])
    share, pck, compared = quality(lambda _: next(answers), people, LSP)
    assert share == 0.5
    assert pck == 0.5
    assert compared == 2 * len(LANDMARKS)


@pytest.mark.slow
def test_frames_and_joints_of_a_data_set_are_a_data_set(tmp_path):
    lines = ["file,neck_x,neck_y"]
    for number in range(20):
        Image.fromarray(edge() + np.uint8(number)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number}.0,5.0")
    (tmp_path / "joints.csv").write_text("\n".join(lines))
    output = tmp_path / "events"
    command = [sys.executable, "-m", "benchmarks.event_frames", f"--output={output}"]
    subprocess.run([*command, f"--data=csv:{tmp_path / 'joints.csv'}"], check=True)
    found = load_joint_set(f"csv:{output / 'joints.csv'}")
    people = [*found.train, *found.validation, *found.test]
    assert sorted(person.joints[0, 0] for person in people) == list(range(20))
    assert people[0].picture().shape == (20, 40, 3)
