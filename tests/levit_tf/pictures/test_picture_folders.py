"""Every tool that is given a folder takes the same pictures of it, and names the rest."""

import os
import re

import pytest
from PIL import Image

from converters.tflite.calibration import calibration_images
from converters.verification.verify_pictures import comparison_pictures
from levit_tf.classify import _files
from levit_tf.pictures.picture_folders import load_spread, pictures_in, scan_folders
from serving.load_test import read_pictures
from tests.support.picture_zoo import PICTURE_COUNT, PICTURES, SKIPPED, write_zoo
from tests.support.training.data_cases import broken_png, encoded, picture, write_folder
from training.data import load_data, summary
from training.show_augmentation import load_pictures


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return write_zoo(tmp_path_factory.mktemp("zoo") / "cat")


def test_pictures_are_told_by_their_content_and_all_else_has_a_reason(zoo):
    paths, skipped = pictures_in(zoo, "here")
    names = [os.path.relpath(path, zoo) for path in paths]
    assert set(PICTURES) < set(names)
    assert len(names) == PICTURE_COUNT
    found = {os.path.relpath(path, zoo): reason for path, reason in skipped}
    assert set(found) == set(SKIPPED)
    for name, reason in SKIPPED.items():
        assert reason in found[name]
        assert name not in found[name]


@pytest.mark.parametrize(
    "read",
    [
        lambda zoo: calibration_images(f"imagefolder:{zoo}", (32, 32)),
        lambda zoo: comparison_pictures(zoo, (32, 32)),
        lambda zoo: load_pictures(str(zoo), 100)[0],
        lambda zoo: _files([str(zoo)]),
    ],
    ids=["calibration", "verify", "show_augmentation", "classify"],
)
def test_every_tool_reads_the_same_pictures_and_names_what_it_skips(zoo, read, capsys):
    assert len(read(zoo)) == PICTURE_COUNT
    output = "".join(capsys.readouterr())
    for name, reason in SKIPPED.items():
        assert re.search(f"{re.escape(name)}: .*{re.escape(reason)}", output)
    assert "Thumbs" not in output


def test_training_reads_the_same_pictures(zoo):
    (zoo.parent / "dog").mkdir()
    picture(1).save(zoo.parent / "dog" / "1.png")
    data = load_data(f"imagefolder:{zoo.parent}", input_size=(32, 32), split_test="all")
    assert data.num_test == len(data.test_images()[0]) == PICTURE_COUNT + 1
    text = summary(data)
    assert f"2 classes: cat {PICTURE_COUNT}, dog 1\n" in text
    for name, reason in SKIPPED.items():
        assert re.search(f"{re.escape(name)}: .*{re.escape(reason)}", text)


def test_the_load_test_takes_what_begins_as_a_picture(zoo, capsys):
    # It leaves it to the server to say what is damaged further on.
    read = read_pictures(zoo, 100, 0)
    output = capsys.readouterr().out
    begins_well = {"cut.jpg", "huge.png"}
    for name in SKIPPED:
        assert (name in output) == (name not in begins_well)
    assert f"{len(read)} pictures in" in output


def test_damage_inside_is_replaced_by_another_picture_and_named(tmp_path, capsys):
    for n in range(6):
        Image.new("RGB", (40, 40), (n, 0, 0)).save(tmp_path / f"{n}.png")
    (tmp_path / "0.png").write_bytes(broken_png(1))
    images = load_spread(tmp_path, 3, (32, 32), "--images")
    assert [int(image[0, 0, 0]) for image in images] == [1, 2, 5]
    output = capsys.readouterr().out
    assert "--images: 3 of 6 pictures in" in output
    assert "found damaged and skipped: 1" in output
    assert "0.png: truncated or damaged" in output


def test_a_folder_of_nothing_but_damage_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(broken_png(1))
    with pytest.raises(ValueError, match=r"--images: no picture in .* can be read"):
        load_spread(tmp_path, 3, (32, 32), "--images")


def test_a_folder_of_a_format_that_is_not_read_says_so(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "scan.tif")
    with pytest.raises(ValueError, match=r"no pictures in .*scan\.tif: format TIFF is not read"):
        calibration_images(f"imagefolder:{tmp_path}", (32, 32))


def test_folders_are_looked_at_together_and_answered_one_by_one(tmp_path):
    write_folder(tmp_path, 3)
    (tmp_path / "bee" / "01.jpg").write_bytes(encoded(picture(0))[:-100])
    found = scan_folders([tmp_path / name for name in ("ant", "bee", "cat")])
    assert [len(pictures) for pictures, _ in found] == [3, 2, 3]
    assert [len(skipped) for _, skipped in found] == [0, 1, 0]
    assert all(
        picture.is_jpeg and picture.is_plain for pictures, _ in found for picture in pictures
    )
    assert found[1][1][0][0] == str(tmp_path / "bee" / "01.jpg")
