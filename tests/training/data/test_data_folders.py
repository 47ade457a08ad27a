"""Image folders: what is found in them, and what becomes of pictures that cannot be read."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from levit_lite.images import ImageError, load_image
from levit_tf.pictures.images import load_images
from tests.support.training.data_cases import (
    CLASSES,
    broken_png,
    encoded,
    huge_png,
    picture,
    write_folder,
)
from training.augment import AugmentationSettings
from training.data import load_data, summary
from training.data.decoding import decode

SIZE = (32, 48)
# Without RandAugment, whose graph takes a while to build.
CROPS = AugmentationSettings(size=SIZE, operations=0)


def load(root, **options):
    return load_data(f"imagefolder:{root}", **{"input_size": SIZE, **options})


def one_epoch(data, batch=2, **options):
    steps = data.steps_per_epoch(batch)
    options = {"augment": None, **options}
    return list(
        data.train_dataset(global_batch=batch, steps=steps, first_step=0, seed=0, **options)
    )


def test_train_and_test_folders_are_the_two_parts(tmp_path):
    write_folder(tmp_path, 4, parts=("train", "val"))
    data = load(tmp_path)
    assert (data.class_names, data.skipped) == (CLASSES, [])
    assert (data.num_train, data.num_test) == (12, 12)
    images, labels = data.test_images()
    paths = sorted(tmp_path.glob("val/*/*.jpg"))
    np.testing.assert_array_equal(labels, [CLASSES.index(path.parent.name) for path in paths])
    np.testing.assert_array_equal(images, load_images(paths, SIZE))


@pytest.mark.slow
def test_a_tenth_is_held_out_of_a_folder_without_parts(tmp_path):
    write_folder(tmp_path, 10)
    data = load(tmp_path)
    assert (data.num_train, data.num_test) == (27, 3)
    assert data.test_images()[1].tolist() == [0, 1, 2]
    again = load(tmp_path)
    np.testing.assert_array_equal(data.test_images()[0], again.test_images()[0])
    trained = {images.tobytes() for images in data.calibration_images(27)}
    assert not trained & {images.tobytes() for images in data.test_images()[0]}
    assert load(tmp_path, split_test="all").num_test == 30


def test_a_train_folder_alone_gives_both_parts(tmp_path):
    write_folder(tmp_path, 10, parts=("train",))
    data = load(tmp_path)
    assert (data.num_train, data.num_test) == (27, 3)


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training", "Validation_Set")])
def test_parts_have_their_names_in_any_spelling(tmp_path, train, test):
    write_folder(tmp_path, 2, parts=(train, test))
    data = load(tmp_path)
    assert data.class_names == CLASSES
    assert (data.num_train, data.num_test) == (6, 6)
    assert summary(data).splitlines() == [
        f"imagefolder:{tmp_path}: 12 pictures, 3 classes: ant 4, bee 4, cat 4",
        f"  held out: 6, from {test}/",
    ]


def test_the_summary_says_what_is_held_out_skipped_and_not_looked_at(tmp_path):
    write_folder(tmp_path, 10)
    (tmp_path / "bee" / "empty.jpg").touch()
    (tmp_path / "README.md").write_text("These are insects, and cats.")
    assert summary(load(tmp_path)).splitlines() == [
        f"imagefolder:{tmp_path}: 30 pictures, 3 classes: ant 10, bee 10, cat 10",
        "  held out: 3, a tenth of each class, always the same",
        "  skipped: 1",
        f"    {tmp_path / 'bee' / 'empty.jpg'}: empty (0 bytes).",
        "  not looked at: README.md",
    ]


@pytest.mark.parametrize(
    ("parts", "options", "seen"),
    [
        ([""], {}, 0),
        ([""], {"split_train": "all"}, 3),
        ([""], {"split_test": "all"}, 27),
        ([""], {"with_train": False}, 0),
        (["train", "test"], {}, 0),
        (["train", "test"], {"split_train": "all"}, 30),
    ],
)
def test_held_out_pictures_that_are_trained_on_are_counted(tmp_path, parts, options, seen):
    write_folder(tmp_path, 10, parts=parts)
    data = load(tmp_path, **options)
    assert data.num_seen == seen
    said = f"; {seen} of them are trained on as well"
    assert summary(data).splitlines()[1].endswith(said) is (seen > 0)


def test_the_summary_of_many_classes_names_the_first(tmp_path):
    for n in range(25):
        (tmp_path / str(n)).mkdir()
        picture(n).save(tmp_path / str(n) / "a.png")
    first = summary(load(tmp_path, with_train=False)).splitlines()[0]
    assert "25 classes: 0 1, 1 1, " in first
    assert first.endswith("19 1 and 5 more")


def test_where_nothing_is_trained_all_that_is_named_is_held_out(tmp_path):
    write_folder(tmp_path, 10)
    data = load(tmp_path, with_train=False)
    assert data.num_test == 30
    assert "evaluated: 30, all of them" in summary(data, "evaluated")
    assert load(tmp_path, with_train=False, split_test="test").num_test == 3


def test_of_parts_the_one_that_is_named_is_held_out_or_all(tmp_path):
    write_folder(tmp_path, 2, parts=("train", "valid"))
    (tmp_path / "valid" / "cat" / "00.jpg").unlink()
    for split, count in ((None, 5), ("validation", 5), ("train", 6), ("all", 11)):
        assert load(tmp_path, with_train=False, split_test=split).num_test == count


def test_classes_without_a_held_out_picture_are_named(tmp_path):
    write_folder(tmp_path, 2, parts=("train", "test"))
    shutil.rmtree(tmp_path / "test" / "cat")
    assert "held out: 4, from test/ (none of cat)" in summary(load(tmp_path))


def test_of_a_train_folder_alone_all_is_evaluated_or_the_tenth(tmp_path):
    write_folder(tmp_path, 10, parts=("train",))
    assert load(tmp_path, with_train=False).num_test == 30
    assert load(tmp_path, with_train=False, split_test="test").num_test == 3


@pytest.mark.parametrize("part", ["", "train"])
def test_one_picture_of_each_class_leaves_none_to_hold_out(tmp_path, part):
    write_folder(tmp_path, 1, parts=(part,))
    with pytest.raises(ValueError, match=r"one picture of each class: nothing can be held out"):
        load(tmp_path)
    assert load(tmp_path, with_train=False).num_test == 3


def test_the_parent_of_the_class_folders_is_refused(tmp_path):
    write_folder(tmp_path / "photos", 2)
    with pytest.raises(ValueError, match=r"one class, 'photos'.*/photos' is meant, with ant, bee"):
        load(tmp_path)


def test_a_held_out_folder_alone_is_for_evaluation(tmp_path):
    write_folder(tmp_path, 2, parts=("val",))
    data = load(tmp_path)
    assert (data.num_train, data.num_test) == (0, 6)


def test_folders_of_numbers_are_classes_in_the_order_of_the_numbers(tmp_path):
    for name in ("0", "1", "2", "10", "11"):
        (tmp_path / name).mkdir()
        for n in range(2):
            picture(n).save(tmp_path / name / f"{n}.png")
    assert load(tmp_path).class_names == ("0", "1", "2", "10", "11")


def test_folders_of_wordnet_ids_are_classes_with_names(tmp_path):
    for name in ("n01443537", "n01440764"):
        (tmp_path / name).mkdir()
        picture(0).save(tmp_path / name / "0.png")
    data = load(tmp_path, split_test="all")
    assert data.class_ids == ("n01440764", "n01443537")
    assert data.class_names == ("tench", "goldfish")


KINDS = {
    "grey.jpg": encoded(picture(1, mode="L")),
    "cmyk.jpg": encoded(picture(2, mode="CMYK")),
    "rotated.jpg": encoded(
        picture(3), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    ),
    "palette.png": encoded(picture(4).quantize(16), "PNG"),
    "transparent.png": encoded(picture(5, mode="RGBA"), "PNG"),
    "grey_alpha.png": encoded(picture(6, mode="LA"), "PNG"),
    "deep.png": encoded(
        Image.fromarray(np.arange(40 * 52, dtype=np.uint16).reshape(40, 52) * 31), "PNG"
    ),
    "picture.webp": encoded(picture(7), "WEBP"),
    "picture.bmp": encoded(picture(8), "BMP"),
    "animated.gif": encoded(
        picture(9), "GIF", save_all=True, append_images=[picture(10)], duration=100
    ),
    "wrong_suffix.png": encoded(picture(11)),
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A folder with every kind of picture in each of two classes."""
    root = tmp_path_factory.mktemp("kinds")
    for label in CLASSES[:2]:
        (root / label).mkdir()
        for name, content in KINDS.items():
            (root / label / name).write_bytes(content)
    return load(root, split_train="all", split_test="all")


def test_every_kind_of_picture_is_read_as_pillow_reads_it(kinds):
    names = sorted(KINDS) * 2
    for name, image in zip(names, kinds.test_images()[0], strict=True):
        expected = load_images([KINDS[name]], SIZE)[0]
        np.testing.assert_array_equal(image, expected, err_msg=name)


def test_every_kind_of_picture_can_be_trained_on(kinds):
    ((images, labels),) = one_epoch(kinds, batch=2 * len(KINDS), augment=CROPS)
    assert images.shape == (2 * len(KINDS), *SIZE, 3)
    assert np.bincount(labels).tolist() == [len(KINDS)] * 2
    assert np.isfinite(images).all()
    assert kinds.skipped == []


@pytest.mark.parametrize("name", ["grey.jpg", "palette.png", "transparent.png", "deep.png"])
def test_what_counts_as_plain_is_decoded_by_tensorflow_to_the_same_pixels(name):
    np.testing.assert_array_equal(decode(KINDS[name]), load_image(KINDS[name]))


@pytest.fixture
def damaged(tmp_path):
    """Twelve good pictures, and five files that are none."""
    write_folder(tmp_path, 2, parts=("train", "test"))
    folder = tmp_path / "train" / "bee"
    (folder / "cut.jpg").write_bytes(encoded(picture(50))[:-200])
    (folder / "cut.png").write_bytes(encoded(picture(50), "PNG")[:-200])
    (folder / "empty.jpg").touch()
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "notes.txt").write_text("no picture")
    (folder / ".DS_Store").write_bytes(b"\0")
    return tmp_path


def test_files_that_are_no_pictures_are_left_out_and_listed(damaged):
    data = load(damaged)
    assert (data.num_train, data.num_test) == (6, 6)
    reasons = {name.rsplit("/", 1)[-1]: reason for name, reason in data.skipped}
    assert set(reasons) == {"cut.jpg", "cut.png", "empty.jpg", "huge.png", "notes.txt"}
    assert "truncated or damaged" in reasons["cut.jpg"]
    assert "empty (0 bytes)" in reasons["empty.jpg"]
    assert "pixels" in reasons["huge.png"]
    assert "expected JPEG, PNG" in reasons["notes.txt"]


def test_strict_stops_at_the_first_of_them_and_names_it(damaged):
    with pytest.raises(ImageError, match=r"train/bee/cut\.jpg: truncated or damaged"):
        load(damaged, strict=True)


@pytest.fixture
def damaged_inside(tmp_path):
    """Six pictures, one of them with damage that its header does not show."""
    write_folder(tmp_path, 2, parts=("train", "test"))
    for part in ("train", "test"):
        (tmp_path / part / "ant" / "01.jpg").write_bytes(broken_png(51))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("augment", [None, CROPS])
def test_damage_found_while_training_is_replaced_by_the_next_picture(damaged_inside, augment):
    data = load(damaged_inside)
    assert (data.skipped, data.num_train) == ([], 6)
    found = one_epoch(data, batch=6, augment=augment)
    labels = found[0][1].numpy().tolist()
    assert sorted(labels) == [0, 1, 1, 1, 2, 2]  # bee/00.jpg in place of ant/01.jpg
    ((name, reason),) = data.skipped
    assert name == str(damaged_inside / "train" / "ant" / "01.jpg")
    assert "truncated or damaged" in reason
    again = one_epoch(load(damaged_inside), batch=6, augment=augment)
    np.testing.assert_array_equal(found[0][0], again[0][0])


def test_damage_found_while_evaluating_is_left_out(damaged_inside):
    data = load(damaged_inside)
    batches = list(data.test_dataset(batch=4))
    assert [y.numpy().tolist() for _, y in batches] == [[0, 1, 1, 2], [2]]
    assert len(data.test_images()[1]) == 5
    assert [name for name, _ in data.skipped] == [str(damaged_inside / "test" / "ant" / "01.jpg")]


def test_strict_stops_an_epoch_that_meets_damage_and_names_the_file(damaged_inside):
    data = load(damaged_inside, strict=True)
    with pytest.raises(tf.errors.OpError, match=r"train/ant/01\.jpg: truncated or damaged"):
        one_epoch(data, batch=6)
    assert "ant/01.jpg: truncated or damaged" in str(data.failure)


def test_a_folder_that_vanishes_during_the_run_stops_it(tmp_path):
    write_folder(tmp_path, 2, parts=("train", "test"))
    data = load(tmp_path)
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(tf.errors.OpError):
        one_epoch(data)
    assert "Is the disk still there?" in str(data.failure)


def test_a_picture_that_vanishes_during_the_run_is_replaced(tmp_path):
    write_folder(tmp_path, 2, parts=("train", "test"))
    data = load(tmp_path)
    (tmp_path / "train" / "cat" / "01.jpg").unlink()
    assert sorted(one_epoch(data, batch=6)[0][1].numpy()) == [0, 0, 0, 1, 1, 2]
    assert "no such file" in data.skipped[0][1]


def test_small_networks_take_pictures_of_any_size(tmp_path):
    write_folder(tmp_path, 2, parts=("train", "test"))
    data = load(tmp_path, input_size=(32, 32))
    ((images, _),) = one_epoch(data, batch=6, augment=dataclasses.replace(CROPS, size=(32, 32)))
    assert images.shape == (6, 32, 32, 3)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda root: root.rmdir(), {}, "no such folder"),
        (lambda root: None, {}, "a sub-folder for each class. Found none"),
        (lambda root: (root / "ant").mkdir(), {}, r"holds one class, 'ant'"),
        (
            lambda root: (write_folder(root, 1), (root / "eel").mkdir()),
            {},
            r"eel: no picture that can be read\. Every sub-folder of .* is taken for a class",
        ),
        (lambda root: write_folder(root, 1), {"split_test": "val"}, "train, test, all"),
        (
            lambda root: write_folder(root, 1, ("train", "test")),
            {"split_test": "dev"},
            r"no part 'dev'\. Found: test, train",
        ),
    ],
)
def test_folders_without_what_is_needed_are_refused(tmp_path, make, options, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **options)


def test_a_held_out_class_that_nobody_trained_on_is_refused(tmp_path):
    write_folder(tmp_path, 1, parts=("train", "test"))
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(ValueError, match=r"test: 1 classes that .*train has not, such as 'dog'"):
        load(tmp_path)


def test_the_fingerprint_tells_names_labels_and_sizes_apart(tmp_path):
    write_folder(tmp_path / "a", 10)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    before = load(tmp_path / "a").parts
    assert before["training"].count == 27
    first = before["training"].entries[0]
    assert (first.name.split("/")[0], first.label) == ("ant", 0)
    assert first.size == (tmp_path / "a" / first.name).stat().st_size
    assert load(tmp_path / "b").parts == before  # wherever the folder lies

    def changed():
        found = load(tmp_path / "b").parts
        return [name for name in before if found[name].fingerprint != before[name].fingerprint]

    (tmp_path / "b" / first.name).write_bytes(encoded(picture(99)))
    assert changed() == ["training"]
    (tmp_path / "b" / first.name).unlink()
    assert changed() == ["training"]
    for old, new in (("ant", "x"), ("bee", "ant"), ("x", "bee")):
        (tmp_path / "b" / old).rename(tmp_path / "b" / new)
    assert changed() == ["training", "held-out"]
