"""How far a Keras LeViT is from a PyTorch one with the same weights, at every depth."""

from __future__ import annotations

import keras
import numpy as np

import levit_tf
from levit_tf.weights.pytorch_weights import load_state_dict
from tests.support import references
from tests.support.randomize import random_images, randomize_torch

TOLERANCE = 1e-5  # of the largest absolute value, float32 on CPU
DEPTHS = ("stages_0", "stages_1", "stages_2", "pre_logits", "logits")


def make_reference(flavour: str, variant: str) -> references.Reference:
    """The model of one codebase, for 224x224 images."""
    if flavour == "official":
        return references.official_reference(variant)
    if flavour == "hf":
        return references.hf_reference(variant)
    return references.timm_reference(variant, conv=flavour == "timm_conv")


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference, over the largest absolute value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def ported(reference: references.Reference, variant: str, size=(224, 224)) -> keras.Model:
    """A Keras model with the weights of `reference`, which are randomised first."""
    randomize_torch(reference.module, size)
    model = levit_tf.LeViT(
        variant,
        input_shape=(*size, 3),
        classifier_activation=None,
        drop_path_rate=0,
        heads="average" if reference.has_head_dist else "single",
    )
    load_state_dict(model, reference.state())
    return model


def inference_errors(reference, model: keras.Model, size=(224, 224)) -> dict[str, float]:
    """Relative error of the Keras model at each depth."""
    images = random_images(size, 2, seed=7)
    maps = {name: model.get_layer(name).output for name in DEPTHS[:-1]}
    deep = keras.Model(model.input, {**maps, "logits": model.output})
    found = deep(images, training=False)
    expected = reference.forward(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return {
        depth: relative_error(keras.ops.convert_to_numpy(found[depth]), expected[depth])
        for depth in DEPTHS
    }


def training_errors(reference, variant: str, model: keras.Model) -> dict[str, float]:
    """Relative error of both heads' logits with batch statistics. Changes the reference."""
    _, *shape = model.input_shape
    images = random_images(tuple(shape[:2]), 8, seed=8)
    both = levit_tf.LeViT(variant, input_shape=shape, heads="both", drop_path_rate=0)
    both.set_weights(model.get_weights())
    found = both(images, training=True)
    expected = reference.train(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return {
        head: relative_error(keras.ops.convert_to_numpy(found[head]), expected[head])
        for head in ("head", "head_dist")
    }
