"""What a configuration becomes: networks, initial weights, teacher, batches."""

import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from levit_tf.preprocessing import preprocess_input
from levit_tf.weights.packaged import read_packaged
from tests.support.randomize import randomize_keras
from training.augment import MixingSettings
from training.config import load_config, override
from training.loop.batches import test_batches as batches_of
from training.loop.batches import train_batches
from training.loop.session import make_session
from training.networks import network
from training.networks.initial import find_source
from training.networks.named import find_networks
from training.plan import Facts
from training.strategy import make_strategy

TEN = [str(n) for n in range(10)]
DIGITS = ("warmup_epochs=0", "batch_size=64", "epochs=1")


def config_of(*settings):
    return override(load_config("digits"), (*DIGITS, *settings))


def test_a_student_has_two_heads_where_there_is_a_teacher():
    taught = config_of("distillation=hard", "teacher=a.keras")
    assert set(network.student(taught, 10).output) == {"head", "head_dist"}
    assert network.student(config_of(), 10).output.shape == (None, 10)


@pytest.mark.slow
def test_initial_weights_of_other_classes_and_sizes_are_taken_up_to_the_heads(pretrained):
    config = config_of(f"init_from={pretrained}", "input_size=64")
    model = network.student(config, 10)
    text, is_head_fresh = network.initialise(find_source(config), model, TEN)
    assert is_head_fresh
    source = levit_tf.LeViT("LeViTTiny", classes=5, weights=pretrained)
    name = "stages_0_blocks_0_attn"
    np.testing.assert_array_equal(
        model.get_layer(name).qkv.linear.kernel, source.get_layer(name).qkv.linear.kernel
    )
    assert f"initial weights from {pretrained}" in text
    assert "resized" in text


def test_the_packaged_network_begins_a_run_with_its_head_for_its_own_classes():
    config = config_of("variant=LeViTMini", "init_from=LeViTMini", "input_size=64")
    source = find_source(config)
    _, names, _ = read_packaged("imagenette")
    for classes, is_fresh in ((names, False), (names[::-1], True), (["a", "b"], True)):
        model = network.student(config, len(classes))
        text, is_head_fresh = network.initialise(source, model, classes)
        assert is_head_fresh is is_fresh
        assert text.startswith("initial weights from LeViTMini\n")
    with pytest.raises(ValueError, match=r"init_from=LeViTMini: set variant=LeViTMini, too"):
        find_source(config_of("init_from=LeViTMini"))


@pytest.mark.parametrize(
    ("variant", "name", "found"),
    [
        ("LeViTMini", "levit-mini", "LeViTMini"),
        ("LeViT128S", "levit_128s", "imagenet"),
        ("LeViT128S", "imagenet", "imagenet"),
    ],
)
def test_a_variants_name_in_any_spelling_stands_for_its_weights(variant, name, found):
    assert find_source(config_of(f"variant={variant}", f"init_from={name}")).path == found


def test_a_name_without_weights_is_refused_and_a_file_of_a_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, message in (
        ("LeViT128S", "set variant=LeViT128S, too"),
        ("LeViTNano", "init_from=LeViTNano: no such file, and a variant without weights"),
        ("LeViTMimi", "init_from=LeViTMimi: no such file, .* Did you mean 'LeViTMini'"),
    ):
        with pytest.raises(ValueError, match=message):
            find_source(config_of(f"init_from={name}"))
    (tmp_path / "LeViTMini").mkdir()
    assert find_source(config_of("init_from=LeViTMini")).path == "./LeViTMini"


def test_a_file_of_the_teachers_classes_that_is_not_there_is_named(tmp_path):
    teacher = tmp_path / "teacher.keras"
    teacher.touch()
    config = config_of(f"teacher={teacher}", "distillation=soft", "teacher_classes=x.txt")
    with pytest.raises(FileNotFoundError, match=r"teacher_classes=x.txt: no such file"):
        find_networks(config)


@pytest.mark.slow
def test_a_head_of_other_classes_is_not_taken_over(tmp_path, digits):
    path = tmp_path / "ten.keras"
    source = levit_tf.LeViT("LeViTTiny", classes=10, heads="single")
    randomize_keras(source)
    source.save(path)
    config = config_of(f"init_from={path}")
    known = {}
    for names in (None, digits.class_names, digits.class_names[::-1]):
        if names:
            (tmp_path / "labels.txt").write_text("\n".join(names) + "\n")
        model = network.student(config, 10)
        text, is_head_fresh = network.initialise(find_source(config), model, digits.class_names)
        same = np.array_equal(model.get_layer("classifier").weights[0], source.weights[-6])
        assert network.facts(config, find_source(config), digits, 1).is_head_fresh is is_head_fresh
        assert ("of other classes there" in text) is is_head_fresh
        known[names] = (is_head_fresh, same)
    assert known[None] == known[digits.class_names] == (False, True)
    assert known[digits.class_names[::-1]] == (True, False)
    (tmp_path / "labels.txt").unlink()
    for names in (digits.class_names, digits.class_names[::-1]):  # as the model itself knows them
        levit_tf.with_properties(source, class_names=names).save(path)
        is_other = names != digits.class_names
        assert network.facts(config, find_source(config), digits, 1).is_head_fresh is is_other


def test_what_is_known_before_the_networks_are_built(digits, pretrained):
    def facts(*settings, replicas=1):
        config = config_of(*settings)
        return network.facts(config, find_source(config), digits, replicas)

    assert facts("init_from=none") == Facts(1437, (32, 32), False, True, 96)
    found = facts(f"init_from={pretrained}", "accumulate=2", replicas=3)
    assert found == Facts(1437, (32, 32), True, True, 96, multiple=6)
    assert facts("init_from=imagenet").is_head_fresh
    assert facts("flip=auto").is_grey  # looked at only where a plan wants to know
    with pytest.raises(FileNotFoundError, match=r"init_from=no\.keras: no such .*init_from=none"):
        facts("init_from=no.keras")


@pytest.mark.slow
@pytest.mark.parametrize("average", [True, False])
def test_of_two_networks_the_better_one_is_shipped(tmp_path, digits, average):
    config = config_of("ema_decay=0.9")
    session = make_session(config, digits, make_strategy("default"))
    randomize_keras(session.ema.model)
    session.ships_average.assign(float(average))
    images = tf.random.stateless_normal([2, 32, 32, 3], [0, 0])
    expected = tf.nn.softmax((session.ema.model if average else session.model)(images))
    np.testing.assert_allclose(session.shipped()(images), expected, atol=1e-6)
    names = {variable.name for variable in session.state["loop"]}
    assert "ships_average:0" in names  # part of the checkpoints


def test_weights_of_another_variant_are_refused(pretrained):
    config = config_of(f"init_from={pretrained}", "variant=LeViTNano")
    with pytest.raises(ValueError, match="LeViTTiny"):
        network.initialise(find_source(config), network.student(config, 10), TEN)


@pytest.mark.slow
def test_distilled_fine_tuning_learns_from_the_teacher(tmp_path, digits, pretrained):
    teacher = levit_tf.LeViT("LeViTTiny", classes=10)
    randomize_keras(teacher, seed=3)
    teacher.save(tmp_path / "teacher.keras")
    config = config_of(
        *("distillation=hard", f"teacher={tmp_path / 'teacher.keras'}", "distillation_alpha=1.0"),
        *(f"init_from={pretrained}", "freeze_batch_norm=true", "learning_rate=0.1"),
    )
    session = make_session(config, digits, make_strategy("default"))
    step, batches = session.train_step(), session.train_batches(0)
    found = [float(step(*next(batches), tf.constant(0.0))[0]) for _ in range(12)]
    assert np.mean(found[-3:]) < 0.8 * found[0]
    model = session.shipped()
    assert model.output.shape == (None, 10)
    np.testing.assert_allclose(np.sum(model(np.zeros((1, 32, 32, 3), "f4"))), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_teacher_of_other_classes_is_refused(digits, pretrained):
    config = config_of("distillation=soft", f"teacher={pretrained}")
    with pytest.raises(ValueError, match=r"5 classes; the student has 10.*teacher_classes"):
        make_session(config, digits, make_strategy("default"))


def test_held_out_pictures_that_are_trained_on_are_warned_of(digits):
    data = digits.with_input_size((32, 32))
    assert not make_session(config_of(), data, make_strategy("default")).warnings()
    data.num_seen = 36
    (warning,) = make_session(config_of(), data, make_strategy("default")).warnings()
    assert warning.startswith("36 of the 360 held-out pictures are trained on as well: ")


def test_a_batch_that_cannot_be_shared_is_refused(digits):
    strategy = make_strategy("default")
    config = config_of("accumulate=64")
    assert make_session(config, digits, strategy).config is config

    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(ValueError, match=r"multiple of replicas \* accumulate, 3 \* 64"):
        make_session(config, digits, Three())


def test_every_held_out_picture_is_evaluated_once_in_full_batches(digits):
    def shard(num_shards, number):
        return digits.test_dataset(batch=100, num_shards=num_shards, shard=number)

    found = list(batches_of(shard, make_strategy("default"), batch_size=100, images=360))
    assert {x.shape[0] for x, _ in found} == {100}
    labels = np.concatenate([y.numpy() for _, y in found])
    images = np.concatenate([x.numpy() for x, _ in found])
    expected, expected_labels = digits.test_images()
    assert (labels >= 0).sum() == 360
    np.testing.assert_array_equal(labels[labels >= 0], expected_labels)
    np.testing.assert_allclose(images[labels >= 0], preprocess_input(expected), atol=1e-5)


def test_mixing_is_a_function_of_the_step(digits):
    def batches(first_step):
        return train_batches(
            lambda num_shards, shard: digits.train_dataset(
                global_batch=32, steps=6, first_step=first_step, seed=1, augment=None
            ),
            make_strategy("default"),
            mixing=MixingSettings(),
            classes=10,
            seed=1,
            first_step=first_step,
        )

    whole = list(batches(0))[4:]
    for (x, y), (expected_x, expected_y) in zip(batches(4), whole, strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)
        np.testing.assert_allclose(np.sum(y, axis=1), 1, rtol=1e-5)
    assert np.abs(whole[0][1] - whole[1][1]).max() > 0
