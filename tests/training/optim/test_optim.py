"""AdamW against PyTorch's, and what weight decay leaves alone."""

import keras
import numpy as np
import tensorflow as tf

import levit_tf
from tests.support.randomize import randomize_keras
from training.optim.mixed_precision import LossScale
from training.optim.optimizer import AdamW, decays


def test_twenty_steps_are_those_of_pytorch():
    import torch

    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 4)).astype(np.float32)
    # From tiny to large, so that epsilon matters; the first steps show the bias corrections.
    gradients = (rng.normal(size=(20, 5, 4)) * 10.0 ** rng.uniform(-9, 1, (5, 4))).astype("f4")
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, eps=1e-8)
    ours = keras.Variable(start, name="kernel")
    optimizer = AdamW([ours], 0.01, weight_decay=0.1)
    for gradient in gradients:
        theirs.grad = torch.from_numpy(gradient.copy())
        reference.step()
        optimizer.apply([tf.constant(gradient)])
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=2e-6, atol=2e-7)


def test_weight_decay_shrinks_kernels_and_nothing_else():
    model = levit_tf.LeViT("LeViTTiny", classes=10, heads="both")
    randomize_keras(model)
    variables = model.trainable_variables
    optimizer = AdamW(variables, 0.1, weight_decay=0.5)
    before = [keras.ops.convert_to_numpy(v) for v in variables]
    optimizer.apply([tf.zeros(v.shape) for v in variables])
    for variable, old in zip(variables, before, strict=True):
        is_kernel = variable.path.endswith("/kernel")
        assert decays(variable) == is_kernel
        expected = old * (1 - 0.1 * 0.5) if is_kernel else old
        np.testing.assert_allclose(variable, expected, rtol=1e-6, err_msg=variable.path)


def test_a_variable_with_a_factor_learns_and_decays_that_much_faster():
    start, gradient = np.full((3, 2), 0.5, np.float32), tf.fill([3, 2], 0.1)
    one, fast, alone = (keras.Variable(start, name="kernel") for _ in range(3))
    both = AdamW([one, fast], 0.01, weight_decay=0.1, rate_factors=[1.0, 4.0])
    reference = AdamW([alone], 0.04, weight_decay=0.1)
    for _ in range(3):
        both.apply([gradient, gradient])
        reference.apply([gradient])
    np.testing.assert_allclose(fast, alone, rtol=1e-6)
    assert float(one[0, 0]) > float(fast[0, 0])


def test_gradients_are_clipped_before_the_weights_decay():
    weights, gradient = np.ones((4, 1), np.float32), np.full((4, 1), 3, np.float32)
    variable = keras.Variable(weights, name="kernel")
    optimizer = AdamW([variable], 1.0, weight_decay=0.5, clip_factor=0.01)
    optimizer.apply([tf.constant(gradient)])
    clipped = 0.01 * 2 / 6 * gradient  # norms of weights and gradient: 2 and 6
    np.testing.assert_allclose(optimizer.momentums[0], 0.1 * clipped, rtol=1e-6)
    np.testing.assert_allclose(variable, weights * 0.5 - 1, rtol=1e-5)  # a first step is the rate


def test_a_step_that_overflows_changes_nothing_but_the_loss_scale():
    scale = LossScale()
    variable = keras.Variable(np.ones((2, 2), np.float32), name="kernel")
    optimizer = AdamW([variable], 0.1, weight_decay=0.1, loss_scale=scale)
    other = keras.Variable(np.ones((2, 2), np.float32), name="kernel")
    plain = AdamW([other], 0.1, weight_decay=0.1)
    strategy = tf.distribute.get_strategy()

    @tf.function
    def step(value):
        def replica():
            gradient = tf.fill([2, 2], value) * scale.scale
            (gradient,), finite = scale.scale_down([gradient])
            optimizer.apply([gradient], finite)
            scale.update(finite)

        strategy.run(replica)

    step(float("inf"))
    np.testing.assert_array_equal(variable, np.ones((2, 2)))
    np.testing.assert_array_equal(optimizer.momentums + optimizer.velocities, np.zeros((2, 2, 2)))
    assert (float(scale.scale), int(scale.skipped)) == (2.0**15, 1)
    for _ in range(3):
        step(0.5)
        plain.apply([tf.fill([2, 2], 0.5)])
    np.testing.assert_allclose(variable, other, rtol=1e-6)


def test_the_loss_scale_grows_when_nothing_overflows(monkeypatch):
    monkeypatch.setattr("training.optim.mixed_precision.GROWTH_STEPS", 3)
    scale = LossScale(8.0)
    found = []
    for _ in range(6):
        scale.update(tf.constant(True))
        found.append(float(scale.scale))
    assert found == [8, 8, 16, 16, 16, 32]
