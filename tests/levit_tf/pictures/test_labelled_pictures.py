"""A folder is labelled as the class that it names, or not at all."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
from PIL import Image

from levit_lite.class_names import imagenet_class_names, imagenet_classes
from levit_tf.pictures.folder_layout import class_folders
from levit_tf.pictures.labelled_pictures import class_label, labelled_pictures
from levit_tf.pictures.run_pictures import PICTURES_FILE, seen_in_training, write_seen


def test_each_wordnet_id_is_its_own_class_of_imagenet():
    names = imagenet_class_names()
    found = [class_label(identifier, names) for identifier, _ in imagenet_classes()]
    assert found == list(range(1000))  # "crane" and "maillot" are names of two classes each


def test_a_folder_named_as_two_classes_is_refused(tmp_path):
    for name in ("bird", "crane"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    with pytest.raises(ValueError, match="2 classes of the network are named 'crane'"):
        labelled_pictures(tmp_path, imagenet_class_names(), (8, 8))
    with pytest.raises(ValueError, match="2 classes of the network are named 'crane'"):
        labelled_pictures(tmp_path, ["bird", "crane", "crane"], (8, 8))
    assert list(labelled_pictures(tmp_path, ["crane", "bird"], (8, 8)).labels) == [1, 0]


def test_a_folder_is_found_however_its_letters_are_written(tmp_path):
    assert class_label("Hu\u0308ndin", ["Kater", "H\u00fcndin"]) == 1
    assert class_label("H\u00fcndin", ["Kater", "Hu\u0308ndin"]) == 1
    for name in ("Hu\u0308ndin", "H\u00fcndin"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="two folders look alike"):
        class_folders(tmp_path)


def test_pictures_that_only_decoding_finds_damaged_are_left_out_and_named(tmp_path, capsys):
    (tmp_path / "bird").mkdir()
    for number in range(3):
        Image.effect_noise((64, 64), 50).save(tmp_path / "bird" / f"{number}.png")
    damaged = tmp_path / "bird" / "1.png"
    content = bytearray(damaged.read_bytes())
    content[800:900] = bytes(100)
    damaged.write_bytes(content)
    found = labelled_pictures(tmp_path, ["bird"], (8, 8))
    assert len(found) == 3
    assert [path[-5:] for path in found.readable().paths] == ["0.png", "2.png"]
    assert "1.png" in capsys.readouterr().out


CLASSES = ["ant", "bee"]


@pytest.fixture
def trained(tmp_path):
    """Returns a function that makes a run on some pictures of a folder."""

    def make(data, names):
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"dataset": f"imagefolder:{data}"}))
        with gzip.open(folder / PICTURES_FILE, "wt") as file:
            for name in names:
                line = ["training", name, 0, (data / name).stat().st_size]
                file.write(f"{json.dumps(line)}\n")
        return folder

    return make


def draw(folder, count, classes=CLASSES):
    """Numbered pictures of the same size in bytes, each another one."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = Image.effect_noise((8, 8), 50)
            noise.save(folder / name / f"{number}.png", compress_level=0)
    return [f"{folder.name}/{name}/{number}.png" for name in classes for number in range(count)]


def test_a_picture_named_like_one_of_training_is_not_that_one(tmp_path, trained):
    data = tmp_path / "data"
    names = draw(data / "train", 2)
    draw(data / "test", 2)
    run = trained(data, names)
    of_files = tmp_path / "files"
    of_files.mkdir()
    write_seen(of_files, seen_in_training(run))
    for model in (run, of_files):
        seen = seen_in_training(model)
        assert len(labelled_pictures(data, CLASSES, (8, 8), seen)) == 4
    shutil.copy(data / "train/bee/1.png", data / "test/bee/1.png")
    for model in (run, of_files):
        with pytest.raises(ValueError, match=r"1 of 4 pictures .* seen .*bee/1\.png") as error:
            labelled_pictures(data, CLASSES, (8, 8), seen_in_training(model))
        assert "cannot be compared" not in str(error.value)


def test_a_variant_has_not_seen_the_pictures_of_the_run_in_the_working_folder(
    tmp_path, trained, monkeypatch
):
    data = tmp_path / "data"
    monkeypatch.chdir(trained(data, draw(data / "train", 1)))
    assert len(seen_in_training("final.keras")) == len(CLASSES)
    assert seen_in_training("LeViTMini", "hf://timm/levit_128s.fb_dist_in1k") == {}


@pytest.mark.parametrize("is_changed", [False, True])
def test_one_that_cannot_be_compared_counts_as_seen_and_it_is_said(tmp_path, trained, is_changed):
    data = tmp_path / "data"
    names = draw(data / "train", 1)
    draw(data / "test", 1)
    run = trained(data, names)
    if is_changed:
        (data / names[0]).write_bytes(b"another")
    else:
        (data / names[0]).unlink()
    with pytest.raises(ValueError, match=r"1 of 2 .*seen.*1 of them.* compared.*train/ant/0\.png"):
        labelled_pictures(data, CLASSES, (8, 8), seen_in_training(run))


@pytest.mark.parametrize("part", ["", "train"])
def test_those_that_training_held_out_of_a_folder_without_parts_are_taken(
    tmp_path, trained, capsys, part
):
    data = tmp_path / "data"
    draw(data / part, 3)
    names = [f"{part}/{name}/{number}.png".strip("/") for name in CLASSES for number in range(3)]
    run = trained(data, names[:4])
    found = labelled_pictures(data, CLASSES, (8, 8), seen_in_training(run))
    assert [path[-9:] for path in found.paths] == ["bee/1.png", "bee/2.png"]
    assert list(found.labels) == [1, 1]
    assert "left out: 4 that training has seen" in capsys.readouterr().out


def test_a_folder_all_of_whose_pictures_training_has_seen_is_refused(tmp_path, trained):
    data = tmp_path / "data"
    draw(data, 1)
    run = trained(data, ["ant/0.png", "bee/0.png"])
    with pytest.raises(ValueError, match="2 of 2 pictures are among those that training has seen"):
        labelled_pictures(data, CLASSES, (8, 8), seen_in_training(run))
