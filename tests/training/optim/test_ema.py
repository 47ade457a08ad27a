"""The moving average of a network against timm's ModelEma."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import levit_tf
from tests.support.randomize import randomize_keras
from training.optim.ema import Ema


def network():
    return levit_tf.LeViT("LeViTTiny", classes=3, heads="single", drop_path_rate=0.1)


def test_weights_and_statistics_follow_the_network():
    model = network()
    randomize_keras(model)
    ema = Ema(model, network(), decay=0.9)
    expected = {v.path: keras.ops.convert_to_numpy(v) for v in model.weights}
    rng = np.random.default_rng(0)
    for _ in range(3):
        for variable in model.weights:
            variable.assign(rng.normal(size=variable.shape))
            old = expected[variable.path]
            expected[variable.path] = 0.9 * old + 0.1 * keras.ops.convert_to_numpy(variable)
        ema.update(tf.constant(1))
    assert any("moving_variance" in path for path in expected)
    for variable in ema.model.weights:
        np.testing.assert_allclose(variable, expected[variable.path], rtol=1e-5, atol=1e-6)


def test_the_average_begins_as_the_network():
    model = network()
    randomize_keras(model)
    images = tf.random.stateless_normal([2, 32, 32, 3], [0, 0])
    ema = Ema(model, network(), decay=0.5)
    np.testing.assert_array_equal(ema.model(images), model(images))


def test_an_average_of_another_network_is_refused():
    other = levit_tf.LeViT("LeViTTiny", classes=4, heads="single", drop_path_rate=0.1)
    with pytest.raises(ValueError, match="Not the same network"):
        Ema(network(), other, decay=0.5)


def test_an_average_that_warms_up_soon_forgets_the_beginning():
    model, average = (
        keras.Sequential([keras.Input([2]), keras.layers.Dense(3, name="dense")], name="small")
        for _ in range(2)
    )
    ema = Ema(model, average, decay=0.999, warmup=True)
    weight, averaged = model.weights[0], ema.model.weights[0]
    # TensorFlow's own, which takes the number of updates from a variable.
    reference, updates = tf.Variable(weight), tf.Variable(0)
    theirs = tf.train.ExponentialMovingAverage(0.999, num_updates=updates)
    theirs.apply([reference])
    for step in range(1, 21):
        weight.assign(weight + 1.0)
        reference.assign(weight)
        updates.assign(step)
        ema.update(tf.constant(step))
        theirs.apply([reference])
    np.testing.assert_allclose(averaged, theirs.average(reference), rtol=1e-5)
    assert float(tf.reduce_mean(weight - averaged)) < 5  # without the warm-up 19.8
