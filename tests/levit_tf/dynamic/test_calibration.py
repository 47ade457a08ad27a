"""Thresholds of a classifier in steps: the promise holds, and it is as bold as it may be."""

import math

import numpy as np
import pytest
from scipy import stats

from levit_tf.dynamic.budget import within_budget
from levit_tf.dynamic.calibration import (
    NEVER,
    answers,
    calibrate,
    fewest_pictures,
    leaving_step,
    split_and_fit,
    upper_bound,
)
from levit_tf.dynamic.confidence import expected_calibration_error, fit_temperature

CLASSES = 10


def steps_of(count, rng, sharpness=(3.0, 6.0, 9.0), confident=(1.5, 0.7, 1.0)):
    """Logits of three steps, each better than the one before, and the labels.

    Some pictures are hard for all; the first step is too sure of itself, the second not enough.
    """
    labels = rng.integers(0, CLASSES, count)
    hard = rng.exponential(1.5, count)
    logits = []
    for sharp, factor in zip(sharpness, confident, strict=True):
        evidence = rng.normal(size=(count, CLASSES)) * (1 + hard[:, None])
        evidence[np.arange(count), labels] += sharp
        logits.append((factor * evidence).astype(np.float32))
    return logits, labels


def true_risk(logits, labels, found):
    steps = leaving_step(logits, found.temperatures, found.thresholds)
    wrong = answers(logits, steps).argmax(1) != labels
    return np.mean((steps < 2) & wrong & (logits[-1].argmax(1) == labels)), steps


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.005, 0.02])
def test_the_promise_holds_over_many_draws(epsilon):
    rng = np.random.default_rng(0)
    population, labels = steps_of(40_000, rng)
    broken, left, draws, delta = 0, [], 120, 0.1
    for seed in range(draws):
        chosen = rng.choice(len(labels), 2000, replace=False)
        found = calibrate(
            [one[chosen] for one in population],
            labels[chosen],
            epsilon=epsilon,
            delta=delta,
            seed=seed,
        )
        risk, steps = true_risk(population, labels, found)
        broken += risk > epsilon
        left.append(np.mean(steps < 2))
    assert broken <= stats.binom.ppf(0.999, draws, delta)
    assert np.mean(left) > 0.02  # and it is no empty promise


def test_a_bolder_promise_lets_more_pictures_leave():
    logits, labels = steps_of(4000, np.random.default_rng(1))
    shares = []
    for epsilon in (0.005, 0.02, 0.05):
        found = calibrate(logits, labels, epsilon=epsilon)
        shares.append(np.mean(leaving_step(logits, found.temperatures, found.thresholds) < 2))
        assert found.curve[-1].bound > epsilon
        assert all(point.bound <= epsilon for point in found.curve[:-1])
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


@pytest.mark.parametrize(
    "choose",
    [
        lambda *given: calibrate(*given, epsilon=0.05),
        lambda *given: within_budget(*given, (1.0, 2.0, 3.0), 2.5),
    ],
)
def test_the_accuracy_that_thresholds_leave_is_said(choose):
    logits, labels = steps_of(4000, np.random.default_rng(1))
    found = choose(logits, labels)
    _, part, counted = split_and_fit(logits, labels, 0)
    steps = leaving_step(part, found.temperatures, found.thresholds)
    left = np.mean(answers(part, steps).argmax(1) == counted)
    whole = np.mean(part[-1].argmax(1) == counted)
    assert whole > left
    assert f"; top-1 {left:.1%}, the whole network {whole:.1%}; with confidence" in str(found)


def test_a_step_that_knows_nothing_answers_nothing():
    rng = np.random.default_rng(2)
    logits, labels = steps_of(4000, rng)
    logits[0] = logits[1] = (rng.normal(size=logits[0].shape) * 20).astype(np.float32)
    found = calibrate(logits, labels, epsilon=0.005)
    risk, steps = true_risk(logits, labels, found)
    assert risk <= 0.005
    assert np.mean(steps < 2) < 0.02


def test_a_picture_leaves_at_the_first_step_that_is_sure():
    sure, unsure = [5.0, 0.0], [0.1, 0.0]
    logits = [np.float32([sure, unsure, unsure]), np.float32([unsure, sure, unsure])]
    logits.append(np.float32([[0, 1]] * 3))
    steps = leaving_step(logits, (1.0, 1.0), (0.9, 0.9))
    assert steps.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(answers(logits, steps), [sure, sure, [0, 1]])
    assert leaving_step(logits, (1.0, 1.0), (NEVER, NEVER)).tolist() == [2, 2, 2]


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_temperature_is_found_again(temperature):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(20_000, CLASSES)) * 3
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) > rng.random((len(logits), 1))).argmax(1)
    found = fit_temperature(logits * temperature, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    assert expected_calibration_error(logits * temperature, labels, found) < 0.01


@pytest.mark.parametrize(("errors", "pictures"), [(0, 230), (3, 500), (40, 1000)])
def test_the_bound_is_that_of_the_binomial(errors, pictures):
    bound = upper_bound(errors, pictures, 0.1)
    assert stats.binom.cdf(errors, pictures, bound) == pytest.approx(0.1, rel=1e-6)


def test_too_few_pictures_say_how_many_are_needed():
    logits, labels = steps_of(250, np.random.default_rng(4))
    assert fewest_pictures(0.01, 0.1) == math.ceil(math.log(0.1) / math.log(0.99)) == 230
    with pytest.raises(ValueError, match=r"250 calibration pictures.*at least 288 are needed"):
        calibrate(logits, labels, epsilon=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0.0}, r"epsilon must lie between 0 and 1. Received: 0.0"),
        ({"epsilon": 0.1, "delta": 1.5}, r"delta must lie between 0 and 1"),
    ],
)
def test_numbers_out_of_range_are_refused(change, message):
    logits, labels = steps_of(500, np.random.default_rng(5))
    with pytest.raises(ValueError, match=message):
        calibrate(logits, labels, **change)


def test_steps_of_other_classes_are_refused():
    logits, labels = steps_of(500, np.random.default_rng(6))
    with pytest.raises(ValueError, match="the same for every step"):
        calibrate([logits[0][:, :5], logits[1]], labels, epsilon=0.1)
    with pytest.raises(ValueError, match="at least two"):
        calibrate(logits[:1], labels, epsilon=0.1)
