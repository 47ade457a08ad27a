"""Pictures come by name, in an order computed from (seed, epoch, index), shared among workers."""

import collections
import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from levit_tf.pictures import digits
from levit_tf.preprocessing import preprocess_input
from training.augment import AugmentationSettings, MixingSettings, random_mixing
from training.data import Dataset, load_data, parse_dataset_name
from training.data.order import draw_step, shard_positions
from training.data.sources import PixelSource

SHIFTS = AugmentationSettings(size=(32, 32), padding=2, operations=0, erasing=0)


def numbered(count):
    """Pictures that tell their index by their brightness; it is also their label."""
    labels = np.arange(count)
    images = np.broadcast_to(labels[:, None, None, None], (count, 32, 32, 3)).astype(np.uint8)
    source = PixelSource(images, labels)
    names = [str(n) for n in labels]
    return Dataset("numbers", train=source, test=source, class_names=names, input_size=(32, 32))


def labels_of(data, **options):
    defaults = {"first_step": 0, "seed": 0, "augment": None}
    return [y.numpy().tolist() for _, y in data.train_dataset(**{**defaults, **options})]


def test_an_epoch_shows_every_picture_once_in_an_order_of_its_own():
    batches = list(
        numbered(24).train_dataset(global_batch=8, steps=6, first_step=0, seed=0, augment=None)
    )
    first, second = (np.concatenate([y for _, y in part]) for part in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(24))
    assert first.tolist() != second.tolist()
    for images, labels in batches:
        assert (images.dtype, labels.dtype) == (tf.float32, tf.int32)
        pixels = np.broadcast_to(labels.numpy()[:, None, None, None], images.shape)
        np.testing.assert_allclose(images, preprocess_input(pixels), atol=1e-6)


def test_a_batch_that_is_not_full_is_left_out_of_its_epoch():
    data = numbered(20)
    assert data.steps_per_epoch(8) == 2
    assert len(set(np.concatenate(labels_of(data, global_batch=8, steps=2)))) == 16


def test_a_last_batch_may_be_filled_with_pictures_that_the_epoch_has_had():
    data = numbered(20)
    assert data.steps_per_epoch(8, fill=True) == 3
    assert data.steps_per_epoch(20, fill=True) == 1
    found = labels_of(data, global_batch=8, steps=6, fill=True)
    assert [len(batch) for batch in found] == [8] * 6
    for first in (0, 3):
        epoch = np.concatenate(found[first : first + 3]).tolist()
        assert sorted(epoch[:20]) == list(range(20))
        assert epoch[20:] == epoch[:4]  # the list begins again
    assert found[:3] != found[3:]
    whole = {"global_batch": 10, "steps": 4}  # nothing to fill
    assert labels_of(data, fill=True, **whole) == labels_of(data, **whole)


def test_what_fills_a_batch_is_augmented_anew():
    options = {"pictures": 5, "global_batch": 4, "seed": 0, "repeats": 1, "fill": True}
    positions = shard_positions(4, 1, 0)
    draws = [draw_step(tf.constant(step, tf.int64), positions, **options) for step in (0, 1)]
    assert len(set(np.concatenate([draw.copies for draw in draws]))) == 8


def test_another_seed_gives_another_order():
    one, other = (labels_of(numbered(24), global_batch=24, steps=1, seed=s) for s in (0, 1))
    assert one != other


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_pipeline_goes_on_at_any_step(repeats):
    options = {"global_batch": 16, "steps": 6, "seed": 3, "augment": SHIFTS, "repeats": repeats}
    (images, labels), _ = digits.load_data()
    source = PixelSource(images[:40], labels[:40])
    data = Dataset(
        "few", train=source, test=None, class_names=digits.CLASS_NAMES, input_size=(32, 32)
    )
    whole = list(data.train_dataset(first_step=0, **options))
    rest = list(data.train_dataset(first_step=3, **options))
    assert len(rest) == 3
    for (x, y), (expected_x, expected_y) in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_all_shards_together_see_what_one_alone_sees(shards, repeats):
    data = numbered(32)  # 2 batches of 12 an epoch; 8 are left out of each
    options = {"global_batch": 12, "steps": 4, "repeats": repeats}
    alone = labels_of(data, **options)
    parts = [labels_of(data, num_shards=shards, shard=n, **options) for n in range(shards)]
    assert all(len(batch) == 12 // shards for part in parts for batch in part)
    for step, batch in enumerate(alone):
        assert sorted(batch) == sorted(itertools.chain.from_iterable(part[step] for part in parts))
    for epoch in (alone[:2], alone[2:]):
        counts = collections.Counter(itertools.chain.from_iterable(epoch))
        if repeats == 1:
            assert list(counts.values()) == [1] * 24
        else:
            assert list(counts.values()) == [3] * 8


def test_copies_of_a_picture_differ_and_go_to_different_shards():
    (images, _), _ = digits.load_data()
    source = PixelSource(images[:30], np.arange(30))
    data = Dataset("few", train=source, test=None, class_names=["a"] * 30, input_size=(32, 32))
    seen = [
        dict(zip(y.numpy().tolist(), x.numpy(), strict=True))  # no picture twice in a shard
        for shard in range(3)
        for x, y in data.train_dataset(
            global_batch=30,
            steps=1,
            first_step=0,
            seed=0,
            augment=SHIFTS,
            repeats=3,
            num_shards=3,
            shard=shard,
        )
    ]
    assert [len(part) for part in seen] == [10, 10, 10]
    assert set(seen[0]) == set(seen[1]) == set(seen[2])
    assert any((seen[0][n] != seen[1][n]).any() for n in seen[0])


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_mixing_shards_with_themselves_pairs_the_pictures_of_the_whole_batch(shards):
    batch = 12 * shards
    images = np.random.default_rng(0).normal(size=(batch, 8, 8, 3)).astype(np.float32)
    labels = np.arange(batch)

    def mixed(positions):
        mixed = random_mixing(
            images[positions], labels[positions], [1, 2], MixingSettings(), classes=batch
        )
        return [part.numpy() for part in mixed]

    whole = mixed(np.arange(batch))
    for shard in range(shards):
        positions = shard_positions(batch, shards, shard)
        for part, expected in zip(mixed(positions), whole, strict=True):
            np.testing.assert_array_equal(part, expected[positions])


def test_with_repeats_an_epoch_is_the_beginning_of_the_list_of_all_copies():
    draws = [
        draw_step(
            tf.constant(step, tf.int64),
            shard_positions(10, 1, 0),
            pictures=25,
            global_batch=10,
            seed=0,
            repeats=3,
        )
        for step in range(2)
    ]
    indices = np.concatenate([draw.indices for draw in draws])  # 20 of 75
    copies = np.concatenate([draw.copies for draw in draws])
    assert all(indices[n] == indices[n - n % 3] for n in range(20))
    assert len(set(indices)) == 7
    assert len(set(copies)) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_batch": 25}, r"number of training pictures, 24\. Received: 25"),
        ({"global_batch": 9, "num_shards": 2}, r"multiple of the number of workers, 2"),
        ({"global_batch": 8, "num_shards": 2, "shard": 2}, r"shard must lie in 0\.\.1"),
        ({"global_batch": 8, "repeats": 0}, r"repeats must be at least 1"),
        ({"global_batch": 8, "augment": AugmentationSettings()}, r"augment.size must be .*32, 32"),
    ],
)
def test_impossible_batches_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        labels_of(numbered(24), steps=1, **options)


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_every_held_out_picture_comes_once(shards):
    data = numbered(25)
    found = [
        [y.numpy() for _, y in data.test_dataset(batch=4, num_shards=shards, shard=shard)]
        for shard in range(shards)
    ]
    assert np.concatenate([y for part in found for y in part]).tolist() == list(range(25))
    assert {len(y) for part in found for y in part[:-1]} == {4}


def test_held_out_pictures_are_normalised_unless_asked_otherwise():
    data = load_data("digits")
    images, labels = data.test_images()
    assert (images.dtype, images.shape, labels.shape) == (np.uint8, (360, 32, 32, 3), (360,))
    plain, normalised = (
        np.concatenate([x for x, _ in data.test_dataset(batch=100, normalize=normalize)])
        for normalize in (False, True)
    )
    np.testing.assert_array_equal(plain, images)
    np.testing.assert_allclose(normalised, preprocess_input(images), atol=1e-6)
    np.testing.assert_array_equal(images, digits.load_data()[1][0])


def test_few_pictures_are_spread_over_all():
    data = numbered(100)
    _, labels = data.test_images(limit=5)
    assert labels.tolist() == [0, 24, 49, 74, 99]
    assert data.calibration_images(3)[:, 0, 0, 0].tolist() == [0, 49, 99]
    assert sum(len(y) for _, y in data.test_dataset(batch=4, limit=5)) == 5


def test_pictures_are_resized_for_a_network_of_another_size():
    data = load_data("digits", input_size=(48, 64))
    assert data.test_images(limit=2)[0].shape == (2, 48, 64, 3)
    settings = dataclasses.replace(SHIFTS, size=(48, 64))
    dataset = data.train_dataset(global_batch=4, steps=1, first_step=0, seed=0, augment=settings)
    assert next(iter(dataset))[0].shape == (4, 48, 64, 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", ("digits", "digits")),
        ("imagefolder:/a/b", ("imagefolder", "/a/b")),
        ("tfds:digits", ("tfds", "digits")),
        ("imagenet_v2/matched-frequency", ("tfds", "imagenet_v2/matched-frequency")),
        ("cifar10:3.0.2", ("tfds", "cifar10:3.0.2")),
    ],
)
def test_names_say_what_kind_of_data_set_they_are(name, expected):
    assert parse_dataset_name(name) == expected


@pytest.mark.parametrize("name", ["", "imagefolder:", "imagefolder", "/some/folder", ":x"])
def test_a_name_of_no_kind_is_refused_with_the_kinds(name):
    with pytest.raises(ValueError, match=r"Expected digits .*imagefolder:/path"):
        parse_dataset_name(name)


def test_a_set_without_a_part_says_so():
    source = PixelSource(np.zeros((2, 32, 32, 3), np.uint8), [0, 1])
    data = Dataset("half", train=source, test=None, class_names=["a", "b"], input_size=(32, 32))
    assert (data.num_train, data.num_test) == (2, 0)
    with pytest.raises(ValueError, match="half: has no held-out part"):
        data.test_images()


def test_the_fingerprint_of_pictures_in_memory_is_of_their_pixels_and_labels():
    pictures = np.zeros((3, 32, 32, 3), np.uint8)
    before = PixelSource(pictures, [0, 1, 2]).fingerprint()
    assert PixelSource(pictures.copy(), [0, 1, 2]).fingerprint() == before
    assert PixelSource(pictures, [0, 2, 1]).fingerprint() != before
    pictures[1, 5, 5, 0] = 1
    assert PixelSource(pictures, [0, 1, 2]).fingerprint() != before


def test_a_folder_without_its_prefix_is_explained(tmp_path):
    with pytest.raises(ValueError, match=f"Did you mean imagefolder:{tmp_path}"):
        parse_dataset_name(str(tmp_path))
