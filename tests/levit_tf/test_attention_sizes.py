"""One network for every size computes what a network that was built for the size does."""

import functools

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.attention_bias import attention_bias_index, resize_attention_bias
from levit_tf.attention_sizes import attention_bias_at
from tests.support.cases import some_slow
from tests.support.parity import relative_error
from tests.support.randomize import random_images, randomize_keras

ANY_SIZE = (None, None, 3)
SIZES = [(64, 64), (96, 160), (48, 80), (16, 32), (144, 112)]


@functools.cache
def _trained():
    """Trained for 64x64; not to be changed."""
    model = levit_tf.LeViT("LeViTNano", classifier_activation=None)
    randomize_keras(model)
    return model


@functools.cache
def _for_every_size():
    model = levit_tf.LeViT("LeViTNano", input_shape=ANY_SIZE, classifier_activation=None)
    levit_tf.transfer_weights(_trained(), model)
    return model


def _logits(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def _built_for(size):
    model = levit_tf.LeViT("LeViTNano", input_shape=(*size, 3), classifier_activation=None)
    levit_tf.transfer_weights(_trained(), model)
    return model


@pytest.mark.parametrize("size", some_slow(SIZES, fast=[(96, 160), (16, 32)]), ids=str)
def test_a_call_resizes_what_transferring_weights_would(size):
    images = random_images(size)
    expected = _logits(_built_for(size), images)
    assert relative_error(_logits(_for_every_size(), images), expected) <= 1e-6


@pytest.mark.parametrize("source", [(4, 4), (14, 14), (1, 1), (3, 5)], ids=str)
@pytest.mark.parametrize("target", [(4, 4), (7, 3), (1, 6), (28, 50)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_the_bias_is_that_of_the_resized_table(source, target, stride):
    table = np.random.default_rng(0).normal(0, 3, (2, source[0] * source[1])).astype(np.float32)
    resized = resize_attention_bias(table, source, target)
    found = attention_bias_at(keras.ops.convert_to_tensor(table), source, target, stride)
    expected = resized[:, attention_bias_index(target, stride)]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs of TensorFlow")
def test_a_graph_that_learns_the_size_when_it_runs_computes_the_same():
    import tensorflow as tf

    model = _for_every_size()
    traced = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    for size in SIZES:
        images = random_images(size)
        expected = _logits(_built_for(size), images)
        assert relative_error(traced(images).numpy(), expected) <= 1e-6


def test_a_saved_network_takes_every_size_again(tmp_path):
    model = _for_every_size()
    model.save(tmp_path / "any.keras")
    loaded = keras.models.load_model(tmp_path / "any.keras")
    images = random_images((96, 160))
    np.testing.assert_array_equal(_logits(loaded, images), _logits(model, images))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (16, 32)], ids=str)
def test_the_fused_network_takes_every_size(size, tmp_path):
    levit_tf.fuse(_for_every_size()).save(tmp_path / "fused.keras")
    fused = keras.models.load_model(tmp_path / "fused.keras")
    images = random_images(size)
    assert relative_error(_logits(fused, images), _logits(_for_every_size(), images)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("size", [(96, 160), (32, 48)], ids=str)
def test_a_fixed_network_can_keep_the_tables_of_another_size(size):
    model = levit_tf.LeViT(
        "LeViTNano", input_shape=(*size, 3), bias_size=64, classifier_activation=None
    )
    report = levit_tf.transfer_weights(_trained(), model)
    assert not report.resized
    images = random_images(size)
    expected = _logits(_built_for(size), images)
    assert relative_error(_logits(model, images), expected) <= 1e-6
    assert relative_error(_logits(levit_tf.fuse(model), images), expected) <= 1e-5


def test_the_tables_stay_the_ones_that_were_trained():
    for trained, weight in zip(_trained().weights, _for_every_size().weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (trained, weight)))


@pytest.mark.slow
def test_tables_of_an_open_network_learn():
    model = levit_tf.LeViT("LeViTNano", input_shape=(None, None, 3), classes=3)
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    tables = model.get_layer("stages_0_blocks_0_attn").attention_biases
    randomized = levit_tf.LeViT("LeViTNano", classes=3)
    randomize_keras(randomized)
    levit_tf.transfer_weights(randomized, model)
    before = keras.ops.convert_to_numpy(tables).copy()
    model.train_on_batch(random_images((96, 80), 3), np.arange(3))
    assert np.abs(keras.ops.convert_to_numpy(tables) - before).max() > 0


@pytest.mark.parametrize(("size", "side"), [((60, 64), "height"), ((64, 72), "width")])
def test_sides_that_the_stem_cannot_divide_are_refused_with_those_that_fit(size, side):
    with pytest.raises(ValueError, match=rf"{side} must be a positive multiple .* nearest"):
        _for_every_size()(random_images(size), training=False)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs of TensorFlow")
def test_a_graph_refuses_them_too_whatever_the_batch():
    import tensorflow as tf

    model = _for_every_size()
    traced = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    # 8 pictures of height 72 have as many pixels as 9 of 64.
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"must be multiples of 16 pixels\. Received the shape"
    ):
        traced(random_images((72, 64), 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (None, None, None)}, "None to leave them open"),
        ({"input_shape": (None, 60, 3)}, "width must be a positive multiple"),
        ({"input_shape": ANY_SIZE, "bias_size": 60}, "height must be a positive multiple"),
        ({"bias_size": (64, 64, 3)}, "bias_size must be"),
        ({"bias_size": "64"}, "bias_size must be"),
    ],
    ids=str,
)
def test_sizes_that_cannot_be_built_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        levit_tf.LeViT("LeViTNano", **arguments)
