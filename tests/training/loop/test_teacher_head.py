"""A head that learns all of a teacher's classes, and is left behind when training ends."""

import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from levit_tf.layers import Classifier
from training.config import load_config, override
from training.loop.session import make_session
from training.networks.network import TEACHER_HEAD
from training.strategy import make_strategy

SETTINGS = ("warmup_epochs=0", "batch_size=64", "epochs=1", "distillation=soft")


def session_of(digits, pretrained, *settings):
    given = (*SETTINGS, f"teacher={pretrained}", "teacher_head=true", *settings)
    return make_session(override(load_config("digits"), given), digits, make_strategy("default"))


@pytest.mark.slow
def test_the_network_for_use_has_one_head_of_the_labels(digits, pretrained):
    session = session_of(digits, pretrained)
    head = session.model.get_layer(TEACHER_HEAD)
    assert isinstance(head, Classifier)
    assert head.classes == 5
    before = [weight.numpy() for weight in head.trainable_weights]
    step, batches = session.train_step(), session.train_batches(0)
    for _ in range(3):
        images, _ = batch = next(batches)
        step(*batch, tf.constant(0.0))
    after = [weight.numpy() for weight in head.trainable_weights]
    assert any(np.abs(a - b).max() > 0 for a, b in zip(after, before, strict=True))
    session.ships_average.assign(0.0)
    shipped = session.shipped()
    assert not any("head_dist" in w.path or TEACHER_HEAD in w.path for w in shipped.weights)
    expected = tf.nn.softmax(session.model(images, training=False)["head"])
    np.testing.assert_allclose(shipped(images), expected, atol=1e-6)


@pytest.mark.slow
def test_it_learns_what_the_teacher_says(digits, pretrained):
    session = session_of(digits, pretrained, "distillation_alpha=1.0", "learning_rate=0.1")
    step, batches = session.train_step(), session.train_batches(0)
    found = [float(step(*next(batches), tf.constant(0.0))[0]) for _ in range(12)]
    assert np.mean(found[-3:]) < 0.8 * found[0]


@pytest.mark.slow
def test_its_run_is_evaluated_by_the_head_of_the_labels(digits, pretrained):
    session = session_of(digits, pretrained)
    images, labels = digits.test_images()
    answers = levit_tf.preprocess_input(images)
    expected = session.model(answers, training=False)["head"].numpy().argmax(axis=1) == labels
    assert session.evaluators().raw() == pytest.approx(np.mean(expected))


def test_a_teacher_whose_classes_nothing_counts_is_refused(digits, tmp_path):
    file = tmp_path / "regnet.keras"
    file.touch()
    with pytest.raises(ValueError, match="nothing says how many classes a regnety_160"):
        session_of(digits, f"regnety_160:{file}")
