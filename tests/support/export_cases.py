"""A network and pictures for the tests of exporters: non-trivial weights, plain RGB pictures."""

from __future__ import annotations

import functools

import keras
import numpy as np

import levit_tf
from tests.support.randomize import random_images, randomize_keras

CLASSES = 7


def make_model(heads="average", input_shape=(32, 32, 3), seed=0, **kwargs):
    """The smallest LeViT, randomised; for the same seed always the same one."""
    keras.utils.set_random_seed(seed)
    model = levit_tf.LeViT(
        "LeViTTiny", input_shape=input_shape, classes=CLASSES, heads=heads, **kwargs
    )
    randomize_keras(model, seed)
    return model


@functools.cache
def shared_model(**kwargs):
    """`make_model(**kwargs)`, built once in a process: for tests that do not change it."""
    return make_model(**kwargs)


def answers(model, inputs):
    """What a model returns, without the cost of compiling `predict` for a handful of pictures."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(inputs, training=False))


def rgb_images(count, size=(32, 32), seed=2):
    """float32 (count, *size, 3), whole numbers 0..255."""
    return (random_images(size, count, seed=seed) * 60 + 120).clip(0, 255).round()


def relative_error(found, expected):
    """Largest difference, relative to the largest value expected."""
    return np.abs(found - expected).max() / np.abs(expected).max()
