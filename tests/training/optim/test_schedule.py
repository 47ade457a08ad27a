"""The learning rate against timm's scheduler."""

import numpy as np
import pytest

from tests.support.references import timm_levit_module
from training.optim.schedule import StepCosine, WarmupCosine

RECIPE = {"epochs": 100, "warmup_epochs": 5, "warmup_rate": 1e-6, "min_rate": 1e-5}


def test_every_epoch_has_the_rate_of_timm_to_the_digit():
    timm_levit_module()
    import torch
    from timm.scheduler import CosineLRScheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-3)
    timm = CosineLRScheduler(
        optimizer, t_initial=100, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6, cycle_limit=1
    )
    ours = WarmupCosine(2e-3, steps_per_epoch=10, **RECIPE)
    for epoch in range(110):  # ten of the cool-down
        timm.step(epoch)
        (group,) = optimizer.param_groups
        assert ours.rate(epoch) == group["lr"]
        for step in (10 * epoch, 10 * epoch + 9):
            assert float(ours(step)) == np.float32(group["lr"])


def test_without_a_warm_up_the_cosine_begins_at_its_top():
    schedule = WarmupCosine(1e-3, epochs=4, steps_per_epoch=2)
    found = [float(schedule(step)) for step in range(10)]
    expected = np.repeat([1e-3, 1e-3 * (1 + 0.5**0.5) / 2, 5e-4, 1e-3 * (1 - 0.5**0.5) / 2, 0], 2)
    assert found == pytest.approx(expected)


def test_a_rate_from_step_to_step_grows_falls_and_ends_at_its_least():
    schedule = StepCosine(1e-3, 20, steps_per_epoch=5, warmup_steps=4, min_rate=1e-6)
    found = np.array([float(schedule(step)) for step in range(25)])
    np.testing.assert_allclose(found[:5], [2e-4, 4e-4, 6e-4, 8e-4, 1e-3], rtol=1e-6)
    assert (np.diff(found[4:20]) < 0).all()
    np.testing.assert_allclose(found[12], (1e-3 + 1e-6) / 2, rtol=1e-6)  # half of the cosine
    np.testing.assert_allclose(found[20:], 1e-6, rtol=1e-6)  # a cool-down
    assert schedule.rate(0) == pytest.approx(found[4])
    assert schedule.total() == pytest.approx(found[:20].sum())


def test_the_sum_of_the_rates_is_that_of_all_steps():
    schedule = WarmupCosine(1e-3, 4, 2, warmup_epochs=1, warmup_rate=1e-5)
    assert schedule.total() == pytest.approx(sum(float(schedule(step)) for step in range(8)))
