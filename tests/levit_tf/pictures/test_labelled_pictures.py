"""A folder is labelled as the class that it names, or not at all."""

from __future__ import annotations

import pytest
from PIL import Image

from levit_lite.class_names import imagenet_class_names, imagenet_classes
from levit_tf.pictures.labelled_pictures import class_label, labelled_pictures


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
