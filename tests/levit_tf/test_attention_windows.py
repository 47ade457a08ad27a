"""Attention in windows: with one window the plain network, with many what a loop computes."""

import functools

import keras
import numpy as np
import pytest

import levit_tf
from levit_tf.attention import Attention
from levit_tf.attention_bias import attention_bias_index
from tests.support.parity import relative_error
from tests.support.randomize import random_images, randomize_keras

WINDOW = 4
TABLE = (4, 4)


@functools.cache
def _plain():
    model = levit_tf.LeViT("LeViTNano", classifier_activation=None)
    randomize_keras(model)
    return model


def _in_windows(size=(None, None), **kwargs):
    model = levit_tf.LeViT(
        "LeViTNano",
        input_shape=(*size, 3),
        bias_size=64,
        attention_window=WINDOW,
        classifier_activation=None,
        **kwargs,
    )
    levit_tf.transfer_weights(_plain(), model)
    return model


def _logits(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def _softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def _loop(layer, x, shift):
    """Attention in windows, a window at a time, in float64."""
    _, height, width, _ = x.shape
    table = keras.ops.convert_to_numpy(layer.attention_biases).astype(np.float64)
    bias = table[:, attention_bias_index(TABLE)].reshape(-1, *TABLE, *TABLE)
    qkv = keras.ops.convert_to_numpy(layer.qkv(x)).astype(np.float64)
    qkv = qkv.reshape(*qkv.shape[:3], layer.num_heads, -1)
    q, k, v = np.split(qkv, [layer.key_dim, 2 * layer.key_dim], axis=-1)
    out = np.full((*v.shape[:3], layer.num_heads, layer.value_dim), np.nan)
    for top in range(-shift[0], height, WINDOW):
        for left in range(-shift[1], width, WINDOW):
            rows = slice(max(top, 0), min(top + WINDOW, height))
            columns = slice(max(left, 0), min(left + WINDOW, width))
            qs, ks, vs = (part[:, rows, columns] for part in (q, k, v))
            batch, tall, wide, heads, _ = qs.shape
            scores = np.einsum("bijhd,bklhd->bhijkl", qs, ks) / layer.key_dim**0.5
            scores = scores + bias[:, :tall, :wide, :tall, :wide]
            weights = _softmax(scores.reshape(batch, heads, tall, wide, -1))
            weights = weights.reshape(scores.shape)
            out[:, rows, columns] = np.einsum("bhijkl,bklhd->bijhd", weights, vs)
    merged = out.reshape(*out.shape[:3], -1).astype(np.float32)
    return keras.ops.convert_to_numpy(layer.proj(layer.activation(merged)))


@pytest.mark.parametrize("grid", [(4, 4), (8, 12), (7, 9), (2, 5), (3, 3), (1, 13)], ids=str)
@pytest.mark.parametrize("is_shifted", [False, True])
def test_windows_compute_what_a_loop_over_them_does(grid, is_shifted):
    layer = Attention(
        2, 8, 16, 32, table_grid=TABLE, window=WINDOW, is_shifted=is_shifted, name="attention"
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *grid, 32)).astype(np.float32)
    layer(x)
    layer.attention_biases.assign(rng.normal(0, 3, layer.attention_biases.shape))
    shift = [WINDOW // 2 if is_shifted and side > WINDOW else 0 for side in grid]
    found = keras.ops.convert_to_numpy(layer(x, training=False))
    assert relative_error(found, _loop(layer, x, shift)) <= 1e-5


def test_one_window_is_the_plain_network_to_the_bit():
    images = random_images((64, 64))
    expected = _logits(_plain(), images)
    np.testing.assert_array_equal(_logits(_in_windows((64, 64)), images), expected)
    np.testing.assert_array_equal(_logits(_in_windows(), images), expected)


@pytest.mark.slow
def test_more_windows_are_not_the_plain_network():
    images = random_images((128, 128))
    plain = levit_tf.LeViT("LeViTNano", input_shape=128, classifier_activation=None)
    levit_tf.transfer_weights(_plain(), plain)
    found = _logits(_in_windows((128, 128)), images)
    assert relative_error(found, _logits(plain, images)) > 1e-3


@pytest.mark.slow
def test_shifted_windows_connect_what_the_others_cut():
    """The last token of one window reaches tokens of the next one through the shifted block."""
    model = _in_windows((128, 128))
    tokens = keras.Model(model.input, model.get_layer("stages_0").output)
    images = random_images((128, 128), 1)
    changed = images.copy()
    changed[0, 48, 48] += 1  # which no other token's convolutions see
    moved = keras.ops.convert_to_numpy(tokens(images) - tokens(changed))[0]
    reached = np.abs(moved).max(axis=-1) > 0
    assert reached[4:6, 4:6].all()  # of the window behind it
    assert not reached[7, 7]  # which no shifted window reaches


@pytest.mark.slow
@pytest.mark.parametrize("size", [(128, 128), (112, 144), (48, 160)], ids=str)
def test_an_open_network_computes_what_one_for_the_size_does(size):
    images = random_images(size)
    expected = _logits(_in_windows(size), images)
    model = _in_windows()
    assert relative_error(_logits(model, images), expected) <= 1e-6
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        traced = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((None, None, None, 3))],
        )
        assert relative_error(traced(images).numpy(), expected) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (128, 128), (112, 144), (None, None)], ids=str)
def test_fusing_changes_nothing_but_rounding(size, tmp_path):
    model = _in_windows(size)
    levit_tf.fuse(model).save(tmp_path / "fused.keras")
    fused = keras.models.load_model(tmp_path / "fused.keras")
    images = random_images((112, 144) if None in size else size, 3)
    assert relative_error(_logits(fused, images), _logits(model, images)) <= 1e-5


@pytest.mark.slow
def test_a_saved_network_keeps_its_windows(tmp_path):
    model = _in_windows((128, 128))
    model.save(tmp_path / "windows.keras")
    loaded = keras.models.load_model(tmp_path / "windows.keras")
    images = random_images((128, 128))
    np.testing.assert_array_equal(_logits(loaded, images), _logits(model, images))


@pytest.mark.slow
def test_the_cost_grows_with_the_area():
    """Of the first stage; that of whole attention there would grow with its square."""

    def flops(side, **kwargs):
        model = levit_tf.LeViT("LeViT256", weights=None, input_shape=side, **kwargs)
        return levit_tf.count_flops(model)

    windows = {"bias_size": 224, "attention_window": 14}
    small, large = flops(448, **windows), flops(896, **windows)
    assert large <= 1.05 * 4 * small
    assert flops(896) > 1.5 * large


@pytest.mark.slow
def test_attention_weights_of_windows_are_refused_in_words():
    layer = _in_windows((128, 128)).get_layer("stages_0_blocks_0_attn")
    with pytest.raises(ValueError, match="without attention_window"):
        layer.attention_weights(np.zeros((1, 8, 8, 32), np.float32))


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (3, "even number .* Received: 3; the nearest is 2"),
        (6, "at most 4, .* 4x4 tokens. Received: 6; the nearest is 4"),
        (0, "Received: 0"),
        (2.0, "Received: 2.0"),
    ],
    ids=str,
)
def test_windows_that_cannot_be_are_refused(window, message):
    with pytest.raises(ValueError, match=message):
        levit_tf.LeViT("LeViTNano", attention_window=window)
