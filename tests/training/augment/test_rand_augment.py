"""RandAugment: operations, levels and their distribution are those of timm's definition."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.training.augment_cases import picture
from tests.support.training.timm_data import timm_data
from training.augment import rand_augment
from training.augment.rand_augment import OPERATIONS, Draws

DRAWS = 10_000


@pytest.fixture(scope="module")
def definition():
    """timm's transform with the options that its factory passes."""
    return timm_data().auto_augment.rand_augment_transform(
        "rand-m9-mstd0.5-inc1", {"img_mean": rand_augment.FILL, "interpolation": 3}
    )


@pytest.fixture(scope="module")
def drawn():
    """choices, magnitudes and signs, each (DRAWS, 2)."""

    def draw(index):
        draws = rand_augment.draw(tf.stack([7, index]))
        return draws.choices, draws.magnitudes, draws.signs

    dataset = tf.data.Dataset.range(DRAWS).map(draw).batch(DRAWS)
    return [values.numpy() for values in next(iter(dataset))]


def chi_square(counts, expected):
    return float((np.square(counts - expected) / expected).sum())


def test_the_operations_are_timms_in_timms_order(definition):
    assert [operation.name for operation in OPERATIONS] == [op.name for op in definition.ops]


def test_parameters_are_those_of_timms_definition(definition):
    draws = rand_augment.draw(tf.constant([0, 0]))
    assert draws.choices.shape == (definition.num_layers,)
    assert definition.choice_weights is None
    for op in definition.ops:
        assert (op.prob, op.magnitude, op.magnitude_std, op.magnitude_max) == (0.5, 9, 0.5, None)
        assert op.kwargs["fillcolor"] == (124, 116, 104)


@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=[op.name for op in OPERATIONS])
def test_levels_are_timms(number, definition, monkeypatch):
    operation, reference = OPERATIONS[number], definition.ops[number]
    if reference.level_fn is None:
        assert operation.level is None
        return
    random = timm_data().auto_augment.random
    for sign, drawn in ((1.0, 0.0), (-1.0, 1.0)):  # timm negates above a half
        monkeypatch.setattr(random, "random", lambda drawn=drawn: drawn)
        for magnitude in np.arange(0, 10.01, 0.25):
            (expected,) = reference.level_fn(magnitude, reference.hparams)
            found = operation.level(*tf.constant([magnitude, sign], tf.float64))
            assert float(found) == pytest.approx(expected, rel=1e-14, abs=1e-14)


def test_half_of_the_operations_are_applied_and_all_are_equally_likely(drawn):
    choices, _, _ = drawn
    for column in choices.T:
        counts = np.bincount(column, minlength=len(OPERATIONS) + 1)
        expected = np.full(len(counts), DRAWS / 2 / len(OPERATIONS))
        expected[-1] = DRAWS / 2  # nothing
        assert chi_square(counts, expected) < 37.7  # 0.1 % of the distribution for 15 degrees


def test_both_choices_of_an_image_are_independent_and_may_repeat(drawn):
    choices, _, _ = drawn
    both = choices[(choices < len(OPERATIONS)).all(axis=1)]
    counts = np.zeros((len(OPERATIONS),) * 2)
    np.add.at(counts, tuple(both.T), 1)
    assert chi_square(counts, len(both) / counts.size) < 294  # 0.1 % for 224 degrees


def test_magnitudes_are_normal_and_clipped_at_ten(drawn):
    _, magnitudes, _ = drawn
    # (9, 0.5) below: two deviations above is the bound, where a fortieth of them ends up.
    edges = np.array([8.0, 8.5, 9.0, 9.5, 10.0])
    found = (magnitudes.reshape(-1, 1) < edges).mean(axis=0)
    expected = [0.0228, 0.1587, 0.5, 0.8413, 0.9772]
    np.testing.assert_allclose(found, expected, atol=0.012)
    assert magnitudes.max() == 10
    assert (magnitudes == 10).mean() == pytest.approx(0.0228, abs=0.004)


def test_signs_are_balanced_and_independent_of_the_choice(drawn):
    choices, _, signs = drawn
    assert set(np.unique(signs)) == {-1, 1}
    assert abs(signs.mean()) < 0.025
    assert abs(np.corrcoef(choices.ravel(), signs.ravel())[0, 1]) < 0.025


@pytest.mark.slow
def test_only_what_was_drawn_is_done_in_its_order():
    image = tf.constant(picture(40, 30))
    names = [operation.name for operation in OPERATIONS]
    magnitudes, signs = tf.constant([[9.0, 8.5], [1.0, -1.0]], tf.float64)
    for pair in (("Invert", "Rotate"), ("Rotate", "Invert"), ("ShearX", "ShearX")):
        choices = [names.index(name) for name in pair]
        expected = image
        for number, choice in enumerate(choices):
            expected = OPERATIONS[choice](expected, magnitudes[number], signs[number])
        found = rand_augment.apply(image, Draws(tf.constant(choices), magnitudes, signs))
        np.testing.assert_array_equal(found, expected)


def test_drawing_nothing_changes_nothing():
    image = tf.constant(picture(40, 30))
    nothing = Draws(
        tf.fill([2], len(OPERATIONS)),
        tf.fill([2], tf.constant(9, tf.float64)),
        tf.ones([2], tf.float64),
    )
    np.testing.assert_array_equal(rand_augment.apply(image, nothing), image)
