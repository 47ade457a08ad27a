"""The training step against PyTorch's, and against itself: in parts, under XLA, resumed."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from tests.support.randomize import randomize_keras
from tests.support.training.training_parity import (
    Case,
    largest_difference,
    train_keras,
    train_pytorch,
)
from training.config import load_config
from training.log import Log
from training.loop.draws import DropPathDraws
from training.loop.epochs import Evaluators, NonFiniteLossError, Schedule, fit
from training.loop.step import StepOptions, make_train_step
from training.optim.batch_norm import TrainingBatchNorm, prepare_batch_norm
from training.optim.losses import Distillation
from training.optim.optimizer import BETA_1, AdamW

CASE = Case("LeViTNano", steps=10, batch=8)


@pytest.fixture(scope="module")
def pytorch():
    return train_pytorch(CASE)


@pytest.fixture(scope="module")
def keras_run():
    return train_keras(CASE)


@pytest.mark.slow
def test_ten_steps_have_the_losses_of_pytorch(pytorch, keras_run):
    np.testing.assert_allclose(keras_run.losses, pytorch.losses, rtol=1e-5)


def test_ten_steps_lead_to_the_weights_of_pytorch(pytorch, keras_run):
    # A weight without influence has gradients of rounding errors, of which Adam makes whole steps.
    assert largest_difference(keras_run.state, pytorch.state) < 5e-3
    assert largest_difference(keras_run.ema, pytorch.ema) < 1e-5


@pytest.mark.slow
def test_soft_distillation_has_the_losses_of_pytorch():
    case = dataclasses.replace(CASE, steps=3, loss=Distillation("soft", alpha=0.3, tau=2.0))
    np.testing.assert_allclose(train_keras(case).losses, train_pytorch(case).losses, rtol=1e-5)


def test_the_running_variance_is_the_unbiased_one_as_in_pytorch():
    import torch

    images = np.random.default_rng(0).normal(1, 2, (6, 2, 1, 3)).astype(np.float32)
    ours = TrainingBatchNorm(momentum=0.9, epsilon=1e-5)
    ours.build((None, 2, 1, 3))
    theirs = torch.nn.BatchNorm1d(3)
    for _ in range(3):
        found = ours(images, training=True)
        expected = theirs(torch.from_numpy(images.reshape(12, 3)))
    np.testing.assert_allclose(np.reshape(found, (12, 3)), expected.detach(), atol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, theirs.running_mean, rtol=1e-5)
    np.testing.assert_allclose(ours.moving_variance, theirs.running_var, rtol=1e-5)


def test_statistics_keep_the_share_that_is_set():
    model = network()
    prepare_batch_norm(model, 1, momentum=0.25)
    norm = next(layer for layer in model._flatten_layers() if isinstance(layer, TrainingBatchNorm))
    before = norm.moving_mean.numpy()
    images = tf.random.stateless_normal([8, 16, 16, norm.moving_mean.shape[0]], [1, 2])
    norm(images, training=True)
    mean = tf.reduce_mean(images, axis=(0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean, 0.25 * before + 0.75 * mean, atol=1e-6)


def one_step(model, batch=8, classes=3, **options):
    """Loss of a step, and the gradients as the optimizer saw them; the model changes in place."""
    optimizer = AdamW(model.trainable_variables, 0.01)
    train_step = make_train_step(
        model,
        optimizer,
        tf.distribute.get_strategy(),
        StepOptions(batch, **options),
        loss=Distillation(),
    )
    images = tf.random.stateless_normal([batch, 32, 32, 3], [1, 2])
    targets = tf.one_hot(np.arange(batch) % classes, classes)
    loss = float(train_step(images, targets, tf.constant(0.0))[0])
    return loss, [momentum / (1 - BETA_1) for momentum in optimizer.momentums]


def network(**options):
    model = levit_tf.LeViT(
        "LeViTTiny", classes=3, heads="single", classifier_activation=None, **options
    )
    randomize_keras(model)
    return model


@pytest.mark.slow
def test_the_gradient_of_parts_is_that_of_the_whole_batch():
    # In inference mode, so that BatchNorm does not see the parts.
    whole, parts = network(), network()
    parts.set_weights(whole.get_weights())
    loss, gradients = one_step(whole, freeze_batch_norm=True)
    loss_of_parts, gradients_of_parts = one_step(parts, freeze_batch_norm=True, accumulate=2)
    assert loss_of_parts == pytest.approx(loss, rel=1e-6)
    for one, other in zip(gradients, gradients_of_parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_frozen_statistics_stay_while_the_weights_learn():
    model = network()
    before = {v.path: np.array(v) for v in model.weights}
    one_step(model, freeze_batch_norm=True)
    moved = {v.path for v in model.weights if np.any(np.array(v) != before[v.path])}
    assert not any("moving_" in path for path in moved)
    assert moved >= {v.path for v in model.weights if v.path.endswith(("kernel", "gamma"))}


@pytest.mark.slow
def test_xla_gives_the_same_losses():
    case = dataclasses.replace(CASE, steps=4)
    np.testing.assert_allclose(
        train_keras(case, jit_compile=True).losses, train_keras(case).losses, rtol=1e-5
    )


def test_drop_path_is_a_function_of_seed_step_and_part():
    model = levit_tf.LeViT("LeViTTiny", classes=3, heads="single", drop_path_rate=0.5)
    randomize_keras(model)
    images = tf.random.stateless_normal([4, 32, 32, 3], [0, 0])

    def output(seed, step, part):
        DropPathDraws(model, seed).set(tf.constant(step), part)
        return np.array(model(images, training=True))

    first = output(0, 5, 0)
    np.testing.assert_array_equal(output(0, 5, 0), first)
    for other in ((1, 5, 0), (0, 6, 0), (0, 5, 1)):
        assert np.abs(output(*other) - first).max() > 1e-3


def test_every_layer_drops_other_pictures():
    model = levit_tf.LeViT("LeViTTiny", classes=3, heads="single", drop_path_rate=0.5)
    DropPathDraws(model, 0).set(tf.constant(0), 0)
    states = [tuple(np.array(v)) for v in model.variables if "seed_generator" in v.path]
    assert len(set(states)) == len(states) == 8


def test_batch_norm_of_one_replica_is_not_synchronized():
    model = network()
    prepare_batch_norm(model, replicas=1)
    norms = [x for x in model._flatten_layers() if isinstance(x, TrainingBatchNorm)]
    assert norms
    assert not any(norm.synchronized for norm in norms)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    values = iter([2.0, 1.0, float("nan")])
    images = tf.zeros([1, 32, 32, 3])
    with pytest.raises(NonFiniteLossError, match=r"step 3 \(epoch 2\) is nan"):
        fit(
            lambda *_: tf.constant([next(values), 0.0]),
            iter(tf.data.Dataset.from_tensors((images, 0.0)).repeat()),
            Schedule(epochs=2, steps_per_epoch=2, batch_size=1, rate=lambda epoch: 0.1),
            first_step=0,
            epoch_loss=tf.Variable(0.0, dtype=tf.float64),
            evaluators=Evaluators(lambda: 0.5),
            log=Log(tmp_path),
            save=lambda is_best: None,
        )


def test_the_digits_config_is_the_demo():
    config = load_config("digits")
    assert (config.dataset, config.distillation, config.ema_decay) == ("digits", "none", 0)


@pytest.mark.slow
@pytest.mark.long
def test_fifty_steps_of_a_real_variant_have_the_losses_of_pytorch():
    case = Case("LeViT128S", steps=50, batch=8)
    pytorch, found = train_pytorch(case), train_keras(case)
    np.testing.assert_allclose(found.losses, pytorch.losses, rtol=1e-4)
    assert largest_difference(found.ema, pytorch.ema) < 1e-4
