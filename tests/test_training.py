"""Training: the pipeline, the losses, the optimizer and the loop around them."""

import dataclasses
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from levit_tf import digits
from levit_tf.preprocessing import preprocess_input
from tests.randomize import randomize_keras
from training import losses, optim
from training.config import Config, load_config
from training.data import ImageData, random_crop, steps_per_epoch, train_dataset
from training.loop import NonFiniteLossError, fit
from training.run import train
from training.strategy import make_strategy

QUICK = Config(epochs=6, warmup_epochs=0, batch_size=32, learning_rate=0.03)


@pytest.fixture(scope="module")
def few_digits():
    (train_images, train_labels), (test_images, test_labels) = digits.load_data()
    return ImageData(
        (train_images[:160], train_labels[:160]),
        (test_images[:64], test_labels[:64]),
        digits.CLASS_NAMES,
    )


@pytest.fixture(scope="module")
def trained(few_digits):
    return train(QUICK, few_digits)


def numbered(count):
    """Pictures that tell their index by their colour, labelled with it."""
    labels = np.arange(count, dtype=np.int32)
    return np.broadcast_to(labels[:, None, None, None], (count, 8, 8, 3)).astype(np.uint8), labels


def batches(dataset):
    return [(x.numpy(), y.numpy()) for x, y in dataset]


def test_an_epoch_shows_every_picture_once_in_an_order_of_its_own():
    images, labels = numbered(24)
    found = batches(train_dataset(images, labels, batch_size=8, steps=6, seed=0))
    first, second = (np.concatenate([y for _, y in part]) for part in (found[:3], found[3:]))
    assert sorted(first) == sorted(second) == list(range(24))
    assert first.tolist() != second.tolist()
    for x, y in found:
        np.testing.assert_allclose(x, preprocess_input(images[y]), atol=1e-6)


def test_a_batch_that_is_not_full_is_left_out():
    images, labels = numbered(20)
    found = batches(train_dataset(images, labels, batch_size=8, steps=2, seed=0))
    assert len(np.unique(np.concatenate([y for _, y in found]))) == 16


def test_the_pipeline_continues_from_any_step():
    (images, labels), _ = digits.load_data()
    options = {"batch_size": 16, "steps": 8, "seed": 3, "crop_padding": 4}
    whole = batches(train_dataset(images[:64], labels[:64], **options))
    rest = batches(train_dataset(images[:64], labels[:64], first_step=5, **options))
    assert len(rest) == 3
    for (x, y), (expected_x, expected_y) in zip(rest, whole[5:], strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)


def test_another_seed_gives_other_batches():
    images, labels = numbered(24)
    one, other = (
        batches(train_dataset(images, labels, batch_size=8, steps=1, seed=seed)) for seed in (0, 1)
    )
    assert one[0][1].tolist() != other[0][1].tolist()


def test_random_crops_shift_the_picture_by_up_to_the_padding():
    image = tf.ones((8, 8, 3), tf.uint8)
    found = {
        tuple(np.argwhere(random_crop(image, 2, [0, seed]).numpy()[..., 0]).min(0))
        + tuple(np.argwhere(random_crop(image, 2, [0, seed]).numpy()[..., 0]).max(0))
        for seed in range(200)
    }
    shifts = {(top + bottom - 7, left + right - 7) for top, left, bottom, right in found}
    assert shifts == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_too_few_pictures_for_a_batch_are_refused():
    with pytest.raises(ValueError, match="must not exceed the number of training pictures, 10"):
        steps_per_epoch(10, 16)


def test_smoothed_cross_entropy_is_that_of_the_smoothed_target():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 4)).astype(np.float32), np.array([0, 3, 1, 1, 2])
    target = 0.9 * np.eye(4)[labels] + 0.1 / 4
    expected = -(target * np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))).sum(1)
    np.testing.assert_allclose(losses.cross_entropy(labels, logits, 0.1), expected, rtol=1e-5)


def test_without_a_teacher_both_heads_learn_the_labels():
    rng = np.random.default_rng(0)
    head, head_dist = rng.normal(size=(2, 5, 4)).astype(np.float32)
    labels = np.array([0, 3, 1, 1, 2])
    loss = losses.two_head_loss(labels, {"head": head, "head_dist": head_dist}, 0.1)
    alone = [losses.cross_entropy(labels, logits, 0.1) for logits in (head, head_dist)]
    np.testing.assert_allclose(loss, np.mean(alone, axis=0), rtol=1e-6)


def test_the_learning_rate_warms_up_then_follows_the_cosine_by_epochs():
    schedule = optim.WarmupCosine(
        1e-3, epochs=100, steps_per_epoch=10, warmup_epochs=5, warmup_rate=1e-6, min_rate=1e-5
    )
    rate = {step: float(schedule(step)) for step in (0, 9, 10, 49, 50, 500, 999, 1000, 5000)}
    expected = {0: 1e-6, 9: 1e-6, 10: 1e-6 + 999e-6 / 5, 49: 1e-6 + 4 * 999e-6 / 5}
    expected[50] = 1e-5 + 99e-5 * (1 + np.cos(np.pi * 0.05)) / 2
    expected[500] = 1e-5 + 99e-5 / 2
    expected[999] = 1e-5 + 99e-5 * (1 + np.cos(np.pi * 0.99)) / 2
    expected[1000] = expected[5000] = 1e-5
    assert rate == pytest.approx(expected, rel=1e-5)


def test_weight_decay_shrinks_kernels_and_nothing_else():
    model = levit_tf.LeViT("LeViTTiny", classes=10, heads="both")
    randomize_keras(model)
    config = dataclasses.replace(QUICK, learning_rate=1.6, weight_decay=0.5)  # 0.1 at this batch
    optimizer = optim.make_optimizer(model, config, steps_per_epoch=10)
    variables = model.trainable_variables
    before = [keras.ops.convert_to_numpy(v) for v in variables]
    optimizer.apply_gradients([(tf.zeros(v.shape), v) for v in variables])
    for variable, old in zip(variables, before, strict=True):
        is_kernel = variable.path.endswith("/kernel")
        expected = old * (1 - 0.1 * 0.5) if is_kernel else old
        np.testing.assert_allclose(variable, expected, rtol=1e-5, err_msg=variable.path)


def test_the_loss_falls(trained):
    _, history = trained
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert all(len(values) == QUICK.epochs for values in history.values())


def test_the_trained_network_averages_both_heads(trained, few_digits):
    model, history = trained
    images, labels = few_digits.test
    probabilities = model.predict(preprocess_input(images), verbose=0)
    assert np.mean(probabilities.argmax(1) == labels) == pytest.approx(history["top1"][-1])


def test_the_same_seed_gives_the_same_network(trained, few_digits):
    again, history = train(QUICK, few_digits)
    assert history["loss"] == trained[1]["loss"]
    for one, other in zip(trained[0].weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_a_loss_that_is_not_finite_stops_the_run():
    values = iter([2.0, 1.0, float("nan")])
    with pytest.raises(NonFiniteLossError, match=r"step 3 \(epoch 2\) is nan"):
        fit(
            lambda x: next(values),
            tf.data.Dataset.from_tensors((0.0,)).repeat(),
            make_strategy("default"),
            epochs=2,
            steps_per_epoch=2,
            batch_size=1,
            evaluate=lambda: 0.5,
            learning_rate=lambda: 0.1,
        )


def test_an_unknown_strategy_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"default, onedevice, mirrored\. Received: 'horovod'"):
        make_strategy("horovod")


def test_the_digits_config_trains_on_every_picture_within_one_batch():
    config = load_config("digits")
    (images, _), _ = digits.load_data()
    assert len(images) - config.batch_size < steps_per_epoch(len(images), config.batch_size) * (
        config.batch_size
    )


@pytest.mark.slow
def test_two_replicas_equal_one_device():
    script = """
        import numpy as np, tensorflow as tf
        (cpu,) = tf.config.list_physical_devices("CPU")
        logical = tf.config.LogicalDeviceConfiguration
        tf.config.set_logical_device_configuration(cpu, [logical(), logical()])
        from levit_tf import digits
        from training.config import Config
        from training.data import ImageData
        from training.run import train
        data = ImageData(*((x[:96], y[:96]) for x, y in digits.load_data()), digits.CLASS_NAMES)
        config = Config(epochs=2, warmup_epochs=0, batch_size=32, learning_rate=0.003)
        (one, one_history), (two, two_history) = (
            train(config, data, strategy) for strategy in ("onedevice", "mirrored")
        )
        np.testing.assert_allclose(two_history["loss"], one_history["loss"], rtol=1e-5)
        for a, b in zip(one.weights, two.weights, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4, err_msg=a.path)
        print("replicas", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).num_replicas_in_sync)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "replicas 2" in result.stdout
