"""The examples run as they stand."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

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
    pictures, masks, classes = segmentation.read_folder(tmp_path)
    assert classes == 2
    assert pictures.shape == (4, 80, 80, 3)
    assert set(np.unique(masks)) == {0, 1}
    assert 0.02 < masks.mean() < 0.5


def test_intersection_over_union_is_that_of_its_definition():
    masks, found = np.uint8([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    shares = segmentation.intersection_over_union(found, masks, 3)
    np.testing.assert_allclose(shares, [1 / 2, 2 / 3, np.nan])


def _own_folder(folder, parts=("train", "test")):
    """A folder of two pictures of another size and three classes in each part."""
    for part in parts:
        for name in ("images", "masks"):
            (folder / part / name).mkdir(parents=True)
        for stem in ("a", "b"):
            mask = np.repeat(np.uint8([[0, 1, 2, 2]]), 3, axis=0).repeat(40, 0).repeat(40, 1)
            image = Image.fromarray(mask)
            if stem == "b":
                image.putpalette([9, 9, 9, 200, 0, 0, 0, 0, 200])
            image.save(folder / part / "masks" / f"{stem}.png")
            Image.fromarray(mask * 100).convert("RGB").save(folder / part / f"images/{stem}.jpg")
    return folder


def test_pictures_and_masks_of_a_folder_get_the_size_of_the_network(tmp_path):
    folder = _own_folder(tmp_path) / "train"
    pictures, masks, classes = segmentation.read_folder(folder)
    assert classes == 3
    assert pictures.shape == (2, 80, 80, 3)
    expected = np.repeat([[0, 1, 2, 2]], 20, axis=1).repeat(80, axis=0)
    np.testing.assert_array_equal(masks, [expected] * 2)


def _with_mask(size=(160, 120), mode="L", value=0):
    return lambda path: Image.new(mode, size, value).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), r"a\.png: no such file, the mask of .*a\.jpg"),
        (_with_mask(size=(9, 8)), r"a\.png: has 9x8 pixels; its picture a\.jpg has 160x120"),
        (_with_mask(mode="RGB"), r"a\.png: expected 8 bits a pixel.* Found: RGB"),
        (_with_mask(value=3), r"a\.png: has the value 3; .* have 0 to 2"),
        (lambda path: path.write_bytes(b"no picture"), r"a\.png: cannot be read"),
    ],
    ids=["missing", "size", "mode", "value", "damaged"],
)
def test_masks_that_do_not_fit_are_named(change, message, tmp_path):
    folder = _own_folder(tmp_path) / "test"
    change(folder / "masks" / "a.png")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        segmentation.read_folder(folder, 3)


def test_numbers_of_classes_have_no_gap(tmp_path):
    folder = _own_folder(tmp_path) / "train"
    _with_mask(value=255)(folder / "masks" / "a.png")
    with pytest.raises(ValueError, match=r"masks: expected the numbers .* Found: 0, 1, 2, 255"):
        segmentation.read_folder(folder)


def test_files_of_others_are_not_replaced_by_made_pictures(tmp_path):
    folder = _own_folder(tmp_path)
    (folder / "train/images/a.jpg").rename(folder / "train/images/0001.png")
    with pytest.raises(
        FileExistsError, match=rf"train: made by an earlier version .*Remove it, .* --data={folder}"
    ):
        segmentation.make_folder(folder / "train", 1, "train", np.random.default_rng(0))
    assert (folder / "train/images/0001.png").is_file()


@pytest.mark.slow
def test_the_segmentation_example_takes_a_folder_of_ones_own(tmp_path, capsys):
    folder = _own_folder(tmp_path / "mine")
    before = sorted(folder.rglob("*"))
    flags = [f"--output={tmp_path / 'out'}", f"--data={folder}", "--epochs=1"]
    assert commands.call(segmentation, flags) == 0
    assert "| class 2 " in capsys.readouterr().out
    assert (tmp_path / "out" / "masks.png").is_file()
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_the_segmentation_example_runs_to_its_picture(tmp_path, capsys):
    flags = [f"--output={tmp_path}", "--pictures=16", "--epochs=1"]
    assert commands.call(segmentation, flags) == 0
    assert "| mean " in capsys.readouterr().out
    assert (tmp_path / "masks.png").is_file()
