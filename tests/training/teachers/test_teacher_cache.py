"""A cache of a teacher's answers: the same training to the bit, and nothing that does not fit."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from tests.support.randomize import randomize_keras
from training.config import load_config, override
from training.loop.session import make_session
from training.strategy import make_strategy
from training.teachers.cache import DESCRIPTION_FILE, TeacherCache, TeacherCacheError, TopLogits

SETTINGS = ("batch_size=512", "warmup_epochs=0", "epochs=3", "distinct_epochs=2", "mixup=0.4")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    model = levit_tf.LeViT("LeViTTiny", classes=10, heads="average")
    randomize_keras(model, seed=3)
    model.save(path)
    return path


def session_of(digits, teacher, *settings):
    config = override(
        load_config("digits"), (*SETTINGS, "distillation=soft", f"teacher={teacher}", *settings)
    )
    return make_session(config, digits, make_strategy("default"))


def trained(session):
    """Weights and losses after all steps; the teacher is asked first where there is a cache."""
    assert session.fill_cache(lambda: False)
    step, stop = session.train_step(), tf.constant(0.0)
    losses = [step(*batch, stop).numpy()[0] for batch in session.train_batches(0)]
    return losses, session.model.get_weights()


def assert_equal_to_the_bit(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [(), ("teacher_top=3", "accumulate=2"), ("teacher_head=true",)],
    ids=["all", "top", "head"],
)
def test_answers_of_a_cache_train_as_those_of_the_teacher_to_the_bit(
    digits, teacher, tmp_path, more
):
    asked = trained(session_of(digits, teacher, *more))
    cached = (f"teacher_cache={tmp_path / 'cache'}", *more)
    assert_equal_to_the_bit(trained(session_of(digits, teacher, *cached)), asked)
    assert_equal_to_the_bit(trained(session_of(digits, teacher, *cached)), asked)
    assert len(asked[0]) == 6
    assert asked[0][0] != asked[0][2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [(), ("teacher_top=3", "accumulate=2")],
    ids=["all", "top"],
)
def test_answers_of_a_cache_are_those_of_the_teacher_to_the_bit(
    digits, teacher, tmp_path, more, capsys
):
    asking = session_of(digits, teacher, *more)
    ask = tf.function(asking.teacher)
    session = session_of(digits, teacher, f"teacher_cache={tmp_path}", *more)
    assert session.fill_cache(lambda: False)
    assert "epoch 2/2 2/2" in capsys.readouterr().out
    assert session.fill_cache(lambda: False)
    assert "all 2 epochs of answers are in" in capsys.readouterr().out
    steps = 0
    for (images, targets, answers), (same, _) in zip(
        session.train_batches(0), asking.train_batches(0), strict=True
    ):
        np.testing.assert_array_equal(images, same)
        parts = tf.split(images, session.config.accumulate)
        np.testing.assert_array_equal(answers, np.concatenate([ask(part) for part in parts]))
        assert targets.shape == answers.shape
        steps += 1
    assert steps == 6


@pytest.mark.slow
def test_distinct_epochs_repeat_pictures_order_and_mixing(digits, teacher):
    session = session_of(digits, teacher)
    batches = [(x.numpy(), y.numpy()) for x, y in session.train_batches(0)]
    for n in (0, 1):
        for first, again in zip(batches[n], batches[n + 4], strict=True):
            np.testing.assert_array_equal(first, again)
    assert np.abs(batches[0][0] - batches[2][0]).max() > 0
    later = [(x.numpy(), y.numpy()) for x, y in session.train_batches(4)]
    np.testing.assert_array_equal(later[1][0], batches[1][0])


@pytest.mark.slow
def test_a_torn_file_is_found_and_asked_again(digits, teacher, tmp_path, capsys):
    session = session_of(digits, teacher, f"teacher_cache={tmp_path}")
    assert session.fill_cache(lambda: False)
    files = sorted(tmp_path.glob("*.npz"))
    contents = [file.read_bytes() for file in files]
    files[0].write_bytes(contents[0][: len(contents[0]) // 2])
    changed = bytearray(contents[1])
    changed[len(changed) // 2] ^= 1
    files[1].write_bytes(changed)
    capsys.readouterr()
    assert session.fill_cache(lambda: False)
    said = capsys.readouterr().out
    assert all(f"{file}: torn or damaged" in said for file in files)
    with np.load(files[0]) as found:
        again = found["logits"]
    files[0].write_bytes(contents[0])
    with np.load(files[0]) as first:
        np.testing.assert_array_equal(again, first["logits"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed=5", "seed was 0 and is 5"),
        ("mixup=0.8", "mixing was .*'mixup': 0.4.* and is .*'mixup': 0.8"),
        ("crop_padding=1", "augmentation was "),
        ("batch_size=256", "batch_size was 512 and is 256"),
        ("teacher_top=2", "teacher_top was None and is 2"),
        ("teacher_head=true", "teacher_head was None and is True"),
    ],
)
def test_answers_about_other_pictures_are_refused(digits, teacher, tmp_path, setting, message):
    cached = f"teacher_cache={tmp_path}"
    session_of(digits, teacher, cached)
    with pytest.raises(TeacherCacheError, match=message):
        session_of(digits, teacher, cached, setting)


@pytest.mark.slow
def test_answers_of_another_teacher_are_refused(digits, teacher, tmp_path):
    session_of(digits, teacher, f"teacher_cache={tmp_path / 'cache'}")
    other = levit_tf.LeViT("LeViTTiny", classes=10, heads="average")
    other.save(tmp_path / "other.keras")
    message = r"the teacher was teacher\.keras and is other\.keras; teacher was '[0-9a-f]+' and is"
    with pytest.raises(TeacherCacheError, match=message):
        session_of(digits, tmp_path / "other.keras", f"teacher_cache={tmp_path / 'cache'}")


def test_a_file_is_no_cache(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(TeacherCacheError, match="cache: a file; expected a folder"):
        TeacherCache(tmp_path / "cache", {}, TopLogits(10, None), steps=1, epochs=1)


def test_a_folder_of_something_else_is_no_cache(digits, teacher, tmp_path):
    (tmp_path / DESCRIPTION_FILE).write_text("[1]")
    with pytest.raises(TeacherCacheError, match=rf"{DESCRIPTION_FILE}: cannot be read"):
        session_of(digits, teacher, f"teacher_cache={tmp_path}")


@pytest.mark.slow
def test_a_stop_leaves_whole_epochs_only(digits, teacher, tmp_path):
    session = session_of(digits, teacher, f"teacher_cache={tmp_path}")
    looks = iter([False, False, False, False, True, True])
    assert not session.fill_cache(lambda: next(looks))
    assert len(list(tmp_path.glob("*.npz"))) == 1
    assert not list(tmp_path.glob(".*"))
    assert session.fill_cache(lambda: False)


def test_an_epoch_belongs_to_one_process_at_a_time(tmp_path):
    # Locks belong to opened files: two caches stand for two processes.
    cache, other = (
        TeacherCache(tmp_path, {}, TopLogits(2, None), steps=1, epochs=2) for _ in range(2)
    )
    cache.prepare()
    with other.claimed(0, 0, 1) as is_others:
        with cache.claimed(0, 0, 1) as first, cache.claimed(1, 0, 1) as second:
            assert (is_others, first, second) == (True, False, True)
        other.write(0, {"logits": np.ones((1, 4, 2), np.float32)}, 0, 1)
    assert [epoch for epoch, _ in cache.missing(0, 1)] == [1]
    with cache.claimed(0, 0, 1) as is_mine:
        assert is_mine


def test_the_rest_of_the_probability_is_spread_evenly():
    logits = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32) * 3
    found = TopLogits(12, 4)(tf.constant(logits)).numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    top = np.argsort(-logits, axis=1)[:, :4]
    expected = np.repeat((1 - np.take_along_axis(probabilities, top, 1).sum(1))[:, None] / 8, 12, 1)
    np.put_along_axis(expected, top, np.take_along_axis(probabilities, top, 1), 1)
    np.testing.assert_allclose(tf.nn.softmax(found), expected, rtol=1e-5)
    np.testing.assert_array_equal(
        np.take_along_axis(found, top, 1), np.take_along_axis(logits, top, 1)
    )


def test_a_cache_belongs_to_a_teacher():
    with pytest.raises(ValueError, match="teacher_cache is about the teacher's file"):
        dataclasses.replace(load_config("digits"), teacher_cache="answers")
