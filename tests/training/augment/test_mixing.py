"""Mixup and CutMix: equal to timm's for the same lambda and box, and drawn from the same laws."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.training.timm_data import timm_data
from training.augment.mixing import (
    MixingDraw,
    MixingSettings,
    draw_mixing,
    mix,
    random_mixing,
)

CLASSES = 7
DRAWS = 4000


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 24, 32, 3)).astype(np.float32), np.array([0, 6, 3, 3, 1, 2])


@pytest.fixture(scope="module")
def drawn():
    """weight, cut and centre of many draws."""

    def draw(index):
        found = draw_mixing(tf.stack([5, index]), (24, 32), MixingSettings())
        return found.weight, found.cut, found.centre

    return [
        values.numpy() for values in next(iter(tf.data.Dataset.range(DRAWS).map(draw).batch(DRAWS)))
    ]


def timms(batch, weight, cut, centre, monkeypatch):
    """timm's Mixup on the batch, its generator replaced by one that says what it is told."""
    import torch

    module = timm_data().mixup
    uniform = iter([0.0, 0.0 if cut else 0.9])  # mixes at all; switches to CutMix
    places = iter(centre)
    monkeypatch.setattr(module.np.random, "rand", lambda: next(uniform))
    monkeypatch.setattr(module.np.random, "beta", lambda *_: weight)
    monkeypatch.setattr(module.np.random, "randint", lambda *_, **__: next(places))
    images, labels = batch
    mixup = module.Mixup(
        mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=CLASSES
    )
    mixed, targets = mixup(
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)
    )
    return mixed.numpy().transpose(0, 2, 3, 1), targets.numpy()


@pytest.mark.parametrize("weight", [0.0, 0.03, 0.37, 0.5, 0.998, 1.0])
@pytest.mark.parametrize("cut", [False, True], ids=["mixup", "cutmix"])
@pytest.mark.parametrize("centre", [(12, 16), (0, 31), (23, 3)])
def test_equals_timm_for_the_same_draw(batch, weight, cut, centre, monkeypatch):
    expected = timms(batch, weight, cut, centre, monkeypatch)
    draw = MixingDraw(tf.constant(weight, tf.float64), tf.constant(cut), tf.constant(centre))
    found = mix(*map(tf.constant, batch), draw, classes=CLASSES, label_smoothing=0.1)
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-6)


def test_targets_sum_to_one_and_are_smoothed(batch):
    images, labels = batch
    _, targets = random_mixing(
        images, labels, tf.constant([1, 2]), MixingSettings(), classes=CLASSES
    )
    np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1, atol=1e-6)
    assert tf.reduce_min(targets).numpy() == pytest.approx(0.1 / CLASSES)


def test_half_of_the_batches_are_cut(drawn):
    _, cut, _ = drawn
    assert cut.mean() == pytest.approx(0.5, abs=0.03)


def test_lambda_is_of_the_beta_distribution_of_its_kind(drawn):
    weight, cut, _ = drawn
    rng = np.random.default_rng(0)
    quantiles = np.linspace(0.05, 0.95, 19)
    for kind, alpha in ((cut, 1.0), (~cut, 0.8)):
        expected = np.quantile(rng.beta(alpha, alpha, 200_000), quantiles)
        np.testing.assert_allclose(np.quantile(weight[kind], quantiles), expected, atol=0.035)
        # Beta(0.8, 0.8) has the greater variance: 1 / (4 (2 alpha + 1)).
        assert weight[kind].var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_boxes_are_centred_everywhere(drawn):
    _, _, centre = drawn
    for places, side in zip(centre.T, (24, 32), strict=True):
        counts = np.bincount(places, minlength=side)
        assert len(counts) == side
        assert counts.min() > 0.6 * DRAWS / side


def test_kinds_can_be_switched_off(batch):
    images, labels = map(tf.constant, batch)
    for settings, cut in (
        (MixingSettings(mixup=0), True),
        (MixingSettings(cutmix=0), False),
    ):
        draw = draw_mixing(tf.constant([0, 1]), (24, 32), settings)
        assert bool(draw.cut) == cut
        assert 0 < float(draw.weight) < 1
    for settings in (MixingSettings(mixup=0, cutmix=0), MixingSettings(probability=0)):
        mixed, _ = random_mixing(images, labels, tf.constant([0, 1]), settings, classes=CLASSES)
        np.testing.assert_array_equal(mixed, images)


@pytest.mark.parametrize(
    ("field", "value"), [("mixup", -1.0), ("probability", 1.5), ("label_smoothing", float("nan"))]
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        MixingSettings(**{field: value})
