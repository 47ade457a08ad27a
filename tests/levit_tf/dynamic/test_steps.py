"""Exits and cascades: steps that say what the networks say, and skip what nobody needs."""

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.dynamic.calibration import answers, leaving_step
from levit_tf.dynamic.exits import add_exits, exit_layers
from levit_tf.dynamic.steps import LOGITS, cascade, steps_of_exits
from levit_tf.names import WHOLE
from tests.support.randomize import random_images, randomize_keras

SIZE, CLASSES = (64, 64), 5
IMAGES = random_images(SIZE, 7)


@pytest.fixture(scope="module")
def network():
    model = levit_tf.LeViT("LeViTNano", classes=CLASSES)
    randomize_keras(model)
    return model


@pytest.fixture(scope="module")
def exits(network):
    model = add_exits(network)
    for layer in exit_layers(model):
        for weight in layer.weights:
            if "moving" not in weight.path:
                weight.assign(np.random.default_rng(1).normal(size=weight.shape) * 0.5)
    return model


@pytest.mark.slow
def test_the_whole_network_says_to_the_bit_what_it_said(network, exits):
    expected = levit_tf.with_heads(network, "average", None).predict(IMAGES, verbose=0)
    found = exits.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(found[WHOLE], expected)
    assert set(found) == {"exits_0", "exits_1", WHOLE}
    assert all(array.shape == (7, CLASSES) for array in found.values())


def test_the_names_of_the_classes_stay(network):
    named = levit_tf.with_properties(network, class_names=list("abcde"))
    assert levit_tf.model_properties(add_exits(named)).class_names == tuple("abcde")


def test_branches_alone_are_new_layers(network, exits):
    names = {layer.name for layer in exit_layers(exits)}
    assert names == {"exits_0", "exits_0_attn", "exits_0_mlp", "exits_0_mlp_add"} | {
        *("exits_0_pool", "exits_1", "exits_1_pool")
    }
    assert names.isdisjoint(layer.name for layer in network.layers)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["train", "deploy"])
def test_steps_in_a_row_are_the_network(exits, form):
    model = exits if form == "train" else levit_tf.fuse(exits)
    steps = steps_of_exits(model)
    expected = exits.predict(IMAGES, verbose=0)
    for name, found in zip(steps.names, steps.all_logits(IMAGES, batch=3), strict=True):
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_exit_may_be_behind_a_block(network):
    model = add_exits(network, {1: "pool", 0: "attention", "0.0": "pool"})
    steps = steps_of_exits(levit_tf.fuse(model))
    assert steps.names == ("exits_0_0", "exits_0", "exits_1", WHOLE)
    expected = model.predict(IMAGES, verbose=0)
    for name, found in zip(steps.names, steps.all_logits(IMAGES), strict=True):
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kinds", [{2: "pool"}, {"0.9": "pool"}, {0: "mean"}], ids=str)
def test_exits_that_there_cannot_be_are_refused(network, kinds):
    with pytest.raises(ValueError, match=r"behind stage 0 or 1, or a block of theirs.* Received: "):
        add_exits(network, kinds)


def test_a_batch_is_answered_as_row_by_row(exits):
    steps = steps_of_exits(exits)
    logits = steps.all_logits(IMAGES)
    temperatures = (2.0, 1.5)
    thresholds = [
        float(np.median(keras.ops.softmax(one / t).numpy().max(1)))
        for one, t in zip(logits, temperatures, strict=False)
    ]
    found, left = steps.answer(IMAGES, temperatures, thresholds)
    expected = leaving_step(logits, temperatures, thresholds)
    np.testing.assert_array_equal(left, expected)
    np.testing.assert_allclose(found, answers(logits, expected), rtol=1e-4, atol=1e-4)
    assert len(set(left)) > 1
    assert set(steps.answer(IMAGES, temperatures, steps.never)[1]) == {2}


def test_what_nobody_needs_is_not_run(exits):
    steps = steps_of_exits(exits)

    def fail(state):
        raise AssertionError

    steps.networks[1].predict_on_batch = fail
    assert set(steps.answer(IMAGES, (1.0, 1.0), (0.0, 0.0))[1]) == {0}


@pytest.mark.slow
def test_a_cascade_asks_the_larger_network_where_the_smaller_is_not_sure(network):
    small = levit_tf.LeViT("LeViTTiny", classes=CLASSES, input_shape=64, classifier_activation=None)
    randomize_keras(small, seed=2)
    large = levit_tf.with_heads(network, "average", None)
    steps = cascade([small, large])
    logits = steps.all_logits(IMAGES)
    np.testing.assert_allclose(logits[0], small.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits[1], large.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-4)
    threshold = float(np.median(keras.ops.softmax(logits[0]).numpy().max(1)))
    found, left = steps.answer(IMAGES, (1.0,), (threshold,))
    assert set(left) == {0, 1}
    np.testing.assert_allclose(found, answers(logits, left), rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused(network):
    with pytest.raises(ValueError, match="has no classification heads to exit to"):
        add_exits(levit_tf.LeViT("LeViTNano", include_top=False))
    with pytest.raises(ValueError, match="has no exits"):
        steps_of_exits(network)
    with pytest.raises(ValueError, match="at least two"):
        cascade([network])
    other = levit_tf.LeViT("LeViTNano", classes=CLASSES + 1)
    with pytest.raises(ValueError, match=r"the same classes. Received: LeViTNano \(None, 64"):
        cascade([network, other])


@pytest.mark.slow
def test_a_network_with_exits_is_saved_and_loaded(exits, tmp_path):
    exits.save(tmp_path / "exits.keras")
    loaded = keras.models.load_model(tmp_path / "exits.keras")
    for name, array in exits.predict(IMAGES, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(IMAGES, verbose=0)[name], array)
    assert LOGITS in steps_of_exits(loaded).networks[0].output
