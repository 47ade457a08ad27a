"""The examples run as they stand."""

import re
import shutil

import numpy as np
import pytest

from examples import photographs, pose, segmentation
from levit_tf.keypoints.skeletons import LSP
from tests.support import commands
from training.keypoints.sources import load_joint_set


@pytest.mark.slow
def test_every_artefact_of_the_packaged_network_says_the_same_of_a_photograph(tmp_path, capsys):
    assert commands.call(photographs, [f"--output={tmp_path / 'out'}"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    answers = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1:]]
    answers = [row for row in answers if "%" in row[1]]
    assert len(answers) == 5
    assert {row[1].split()[0] for row in answers} == {"church"}
    floats = [row[1] for row in answers if row[0] != "int8.tflite"]
    assert len(set(floats)) == 1


def test_photographs_of_the_same_name_are_both_classified(tmp_path, monkeypatch, capsys):
    first, second = photographs.sample_photographs()
    for folder, file in (("a", first), ("b", second)):
        (tmp_path / folder).mkdir()
        shutil.copy(file, tmp_path / folder / "same.jpg")
    monkeypatch.setattr("training.artefacts.write_artefacts", lambda *_, **__: [])
    pictures = [tmp_path / "a" / "same.jpg", tmp_path / "b" / "same.jpg"]
    assert commands.call(photographs, [f"--output={tmp_path / 'out'}", *pictures]) == 0
    assert re.search(r"artefact +\| same\.jpg +\| same-2\.jpg", capsys.readouterr().out)
    copied = [(tmp_path / "out" / "pictures" / f"same{n}.jpg").read_bytes() for n in ("", "-2")]
    assert copied == [first.read_bytes(), second.read_bytes()]


def test_crops_are_parts_of_the_photographs():
    files = photographs.sample_photographs()
    crops = photographs.random_crops(files, (80, 96))
    assert crops.shape == (photographs.CROPS, 80, 96, 3)
    assert crops.std(axis=(1, 2, 3)).min() > 5


def test_the_folder_of_the_pose_example_is_one_of_a_data_set(tmp_path):
    pose.make_folder(tmp_path, 12, np.random.default_rng(0))
    data = load_joint_set(f"csv:{tmp_path / 'joints.csv'}")
    assert set(data.skeleton.joints) == set(LSP.joints)
    assert data.skeleton.torso == LSP.torso
    assert len(data.train) == 10
    for person in data.train:
        assert (person.joints[:, 2] == 1).all()
        assert (person.joints[:, :2] < (pose.SIZE[1], pose.SIZE[0])).all()


def test_the_folder_of_the_segmentation_example_has_a_mask_for_each_picture(tmp_path):
    for count in (5, 4):  # the second call replaces what the first one made
        segmentation.make_folder(tmp_path, count, "test", np.random.default_rng(0))
    pictures, masks = segmentation.read_folder(tmp_path)
    assert pictures.shape == (4, 80, 80, 3)
    assert set(np.unique(masks)) == {0, 1}
    assert 0.02 < masks.mean() < 0.5


def test_intersection_over_union_is_that_of_its_definition():
    masks, found = np.uint8([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    shares = segmentation.intersection_over_union(found, masks)
    np.testing.assert_allclose(shares, [1 / 2, 2 / 3])


@pytest.mark.slow
def test_the_segmentation_example_runs_to_its_picture(tmp_path, capsys):
    flags = [f"--output={tmp_path}", "--pictures=16", "--epochs=1"]
    assert commands.call(segmentation, flags) == 0
    assert "| mean " in capsys.readouterr().out
    assert (tmp_path / "masks.png").is_file()
