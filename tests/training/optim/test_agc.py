"""Adaptive gradient clipping against timm's."""

import keras
import numpy as np
import pytest

from tests.support.references import timm_levit_module
from training.optim import agc


def clip_with_timm(weights, gradient, factor):
    timm_levit_module()
    import torch
    from timm.utils.agc import adaptive_clip_grad

    parameter = torch.nn.Parameter(torch.from_numpy(weights))
    parameter.grad = torch.from_numpy(gradient.copy())
    adaptive_clip_grad([parameter], clip_factor=factor)
    return parameter.grad.numpy()


@pytest.mark.parametrize(
    ("name", "shape", "to_pytorch"),
    [
        ("kernel", (6, 5), (1, 0)),
        ("kernel", (3, 3, 4, 5), (3, 2, 0, 1)),
        ("attention_biases", (3, 16), (0, 1)),
        ("gamma", (7,), (0,)),
    ],
)
@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0])
def test_a_gradient_is_clipped_as_by_timm(name, shape, to_pytorch, scale):
    rng = np.random.default_rng(0)
    weights, gradient = rng.normal(size=(2, *shape)).astype(np.float32)
    weights[..., 0] = 0  # such units have the smallest norm instead of none
    gradient *= scale
    axes = agc.unit_axes(keras.Variable(weights, name=name))
    found = agc.clip(gradient, weights, axes, 0.01).numpy()
    weights, gradient = (np.ascontiguousarray(x.transpose(to_pytorch)) for x in (weights, gradient))
    expected = clip_with_timm(weights, gradient, 0.01)
    np.testing.assert_allclose(found.transpose(to_pytorch), expected, rtol=1e-5, atol=0)


def test_small_gradients_stay_as_they_are():
    weights = np.ones((4, 3), np.float32)
    gradient = np.full((4, 3), 0.009, np.float32)
    np.testing.assert_array_equal(agc.clip(gradient, weights, (0,), 0.01), gradient)
    assert np.all(agc.clip(gradient, weights, (0,), 0.001).numpy() < gradient)
