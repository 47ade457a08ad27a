"""Which sub-folders are classes, and which are parts of a data set."""

import pytest

from levit_tf.pictures.folder_layout import check_several, class_folders, find_layout, part_kind


def make(root, *paths):
    """Folders (with a slash at the end) and empty files."""
    for path in paths:
        file = root / path
        if path.endswith("/"):
            file.mkdir(parents=True, exist_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    return root


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "train",
            "train Train TRAIN training Training_Set train-images TrainData trainset train2017",
        ),
        ("test", "test Test TESTING testing test_set TestImages tests"),
        (
            "validation",
            "val VALID Validation valid_set eval Evaluation dev holdout hold-out Held_Out",
        ),
        (None, "latest contest trained images data 2017 cat protest validity training_shoes"),
    ],
)
def test_parts_are_known_by_their_usual_names(kind, names):
    for name in names.split():
        assert part_kind(name) == kind, name


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("Train", "Test", "test"),
        ("training", "validation", "validation"),
        ("train", "valid", "validation"),
        ("TRAIN", "Hold-out", "validation"),
    ],
)
def test_two_parts_are_parts(tmp_path, one, other, kind):
    layout = find_layout(make(tmp_path, f"{one}/cat/", f"{other}/cat/"))
    assert layout.parts == {one: "train", other: kind}
    assert layout.of_kind("train") == one
    assert layout.part(kind) == other


def test_what_lies_beside_parts_is_told(tmp_path):
    make(tmp_path, "train/cat/", "val/cat/", "docs/", "README.md", ".git/")
    layout = find_layout(tmp_path)
    assert set(layout.parts) == {"train", "val"}
    assert layout.others == ("docs/", "README.md")


def test_unlabelled_test_pictures_are_no_part(tmp_path):
    layout = find_layout(make(tmp_path, "train/cat/", "train/dog/", "test/1.jpg"))
    assert layout.parts == {"train": "train"}
    assert layout.others == ("test/",)


def test_a_class_may_have_the_name_of_a_part(tmp_path):
    make(tmp_path, "exam/1.jpg", "test/1.jpg", "train/1.jpg")
    assert find_layout(tmp_path).parts == {}
    assert class_folders(tmp_path) == ["exam", "test", "train"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ("train/1.jpg", "test/2.jpg"),
            r"test, train are named like parts, and without sub-folder",
        ),
        (("cat/1.jpg", "test/cat/1.jpg"), r"is 'test' a part or a class\? .*'cat'"),
        (("cat/1.jpg", "train/dog/1.jpg"), r"is 'train' a part or a class\? .*beside it is cat"),
        (("1.jpg", "2.jpg"), r"a sub-folder for each class. Found none, but 2 files"),
        ((), r"a sub-folder for each class. Found none\."),
    ],
)
def test_folders_that_can_be_understood_in_no_way_or_in_two_are_refused(tmp_path, paths, message):
    make(tmp_path, *paths)
    with pytest.raises(ValueError, match=message):
        find_layout(tmp_path)


def test_two_parts_of_a_kind_are_refused_unless_one_is_named(tmp_path):
    layout = find_layout(make(tmp_path, "train/cat/", "training/cat/", "val/cat/"))
    with pytest.raises(ValueError, match="train and training are both train parts"):
        layout.of_kind("train")
    assert layout.part("training") == "training"
    with pytest.raises(ValueError, match=r"no part 'test'\. Found: train, training, val"):
        layout.part("test")


def test_one_class_is_refused_and_the_folder_below_is_named(tmp_path):
    make(tmp_path, "pictures/all/cat/1.jpg", "pictures/all/dog/1.jpg")
    with pytest.raises(ValueError, match=r"one class, 'pictures'.*pictures/all' is meant"):
        check_several(tmp_path, class_folders(tmp_path))
    make(tmp_path / "alone", "cat/1.jpg")
    with pytest.raises(ValueError, match="nothing to tell apart"):
        check_several(tmp_path / "alone", ["cat"])


@pytest.mark.parametrize("name", ["two\nlines", " spaces ", "esc\x1b[31m"])
def test_names_that_are_no_line_of_text_are_no_classes(tmp_path, name):
    make(tmp_path, "cat/", f"{name}/")
    with pytest.raises(ValueError, match="cannot be the name of a class"):
        class_folders(tmp_path)


def test_classes_are_named_in_every_language(tmp_path):
    names = [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "写真\u3000猫",
    ]  # with a zero-width non-joiner, a wide space
    make(tmp_path, *(f"{name}/1.jpg" for name in names))
    assert sorted(class_folders(tmp_path)) == sorted(names)
