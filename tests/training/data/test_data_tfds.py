"""Sets of TensorFlow Datasets, read by index from the files in which they were prepared."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.support.cases import slow
from tests.support.training.data_cases import CLASSES, TinyPictures, prepare
from training.data import load_data

FORMATS = ("tfrecord", "array_record")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folder by file format."""
    root = tmp_path_factory.mktemp("tfds")
    for file_format in FORMATS:
        prepare(TinyPictures(data_dir=root / file_format, file_format=file_format))
    return {file_format: root / file_format for file_format in FORMATS}


@pytest.fixture(params=FORMATS)
def folder(request, folders, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folders[request.param]))
    return folders[request.param]


def numbers(images):
    return images[:, 0, 0, 0].tolist()


def test_a_prepared_set_has_its_parts_classes_and_size(folder):
    data = load_data("tiny_pictures")
    assert (data.num_train, data.num_test) == (24, 9)
    assert (data.class_names, data.input_size) == (CLASSES, (32, 32))
    images, labels = data.test_images()
    assert sorted(numbers(images)) == list(range(9))
    assert [n % 3 for n in numbers(images)] == labels.tolist()


@pytest.mark.parametrize("shards", [slow(1), 2, slow(3)])
def test_an_epoch_over_all_workers_reads_everything_once(folders, monkeypatch, shards):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folders["tfrecord"]))
    data = load_data("tfds:tiny_pictures")
    found = [
        int(n)
        for shard in range(shards)
        for images, labels in data.train_dataset(
            global_batch=6,
            steps=4,
            first_step=0,
            seed=1,
            augment=None,
            num_shards=shards,
            shard=shard,
        )
        for n in np.round((images[:, 0, 0, 0].numpy() * 0.229 + 0.485) * 255)
    ]
    assert sorted(found) == list(range(24))


@pytest.mark.slow
def test_parts_of_splits_are_read_as_tensorflow_datasets_reads_them(folder, folders):
    data = load_data("tiny_pictures", split_train="train[:60%]+test[:2]", split_test="train[60%:]")
    assert (data.num_train, data.num_test) == (16, 10)
    builder = tfds.builder("tiny_pictures", data_dir=folders["tfrecord"])
    for split, found in (
        ("train[:60%]+test[:2]", data.calibration_images(100)),
        ("train[60%:]", data.test_images()[0]),
    ):
        expected = [
            example["image"][0, 0, 0] for example in tfds.as_numpy(builder.as_dataset(split))
        ]
        assert numbers(found) == expected


@pytest.mark.parametrize(
    ("train", "test", "seen"),
    [
        (None, None, 0),
        ("train+test", None, 9),
        ("train[:60%]+test[:2]", "test[1:]+train[:3]", 1 + 3),
        ("train[:60%]", "train[60%:]", 0),
        ("train[:60%]", "train[50%:]", 2),
    ],
)
def test_held_out_pictures_that_are_trained_on_are_counted(folder, train, test, seen):
    assert load_data("tiny_pictures", split_train=train, split_test=test).num_seen == seen


@pytest.mark.slow
def test_both_formats_give_the_same_training(folders, monkeypatch):
    found = []
    for folder in folders.values():
        monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
        data = load_data("tiny_pictures")
        found += data.train_dataset(global_batch=24, steps=1, first_step=0, seed=5, augment=None)
    np.testing.assert_array_equal(found[0][0], found[1][0])


def test_a_set_that_is_not_prepared_says_how_to_prepare_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    message = rf"not prepared.*Run `tfds build cifar10 --data_dir={tmp_path}`.*TFDS_DATA_DIR"
    with pytest.raises(ValueError, match=message):
        load_data("cifar10")
    with pytest.raises(ValueError, match="have to be downloaded by hand"):
        load_data("imagenet2012")


def test_an_unknown_set_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"cifar1O: .* does not know it.*Did you mean 'cifar10"):
        load_data("cifar1O")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split_train": "training"}, r"no split 'training'\. It has train, test, unlabelled"),
        ({"split_test": "train[:10"}, r"no split 'train\[:10'"),
        ({"split_test": "unlabelled"}, "the pictures of 'unlabelled' have no labels"),
    ],
)
def test_splits_that_cannot_be_used_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        load_data("tiny_pictures", **options)


def test_a_set_without_a_picture_and_a_class_is_refused(tmp_path, monkeypatch):
    class TinyTexts(TinyPictures):
        __module__ = TinyPictures.__module__
        EXAMPLES = {"train": 1}  # noqa: RUF012

        def _info(self):
            features = {"name": tfds.features.Text()}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _generate_examples(self, split):
            yield 0, {"name": split}

    prepare(TinyTexts(data_dir=tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"expected pictures with a class each.*name: Text"):
        load_data("tiny_texts")


@pytest.mark.slow
def test_a_picture_in_a_record_that_cannot_be_decoded_is_replaced(tmp_path, monkeypatch):
    class TinyDamage(TinyPictures):
        __module__ = TinyPictures.__module__

        def _generate_examples(self, split):
            for n, example in super()._generate_examples(split):
                if n == 7:
                    example["image"] = io.BytesIO(b"no picture")
                yield n, example

    prepare(TinyDamage(data_dir=tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    data = load_data("tiny_damage")
    assert len(data.calibration_images(24)) == 23
    (batch,) = data.train_dataset(global_batch=24, steps=1, first_step=0, seed=0, augment=None)
    assert len(batch[1]) == 24
    ((name, reason),) = data.skipped
    assert name.startswith("tiny_damage train, picture ")
    assert reason.startswith("no picture, or damaged")


def test_a_file_that_is_cut_off_is_named(tmp_path, monkeypatch):
    builder = prepare(TinyPictures(data_dir=tmp_path))
    (path,) = builder.data_path.glob("*train*")
    path.write_bytes(path.read_bytes()[:-10])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"train\.tfrecord.*damaged.* expected 24 records"):
        load_data("tiny_pictures")
