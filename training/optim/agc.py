"""Adaptive gradient clipping: a gradient is kept small beside the weights that it changes.

Source: `adaptive_clip_grad` of timm/utils/agc.py; paper arXiv 2102.06171. main.py of
facebookresearch/LeViT clips all parameters, those of the heads too.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from training.optim.variables import own_name

SMALLEST_WEIGHT_NORM = 1e-3
SMALLEST_GRADIENT_NORM = 1e-6


def unit_axes(variable: keras.Variable | tf.Variable) -> tuple[int, ...]:
    """The axes over which the norm of one unit of a variable is taken.

    A unit is what leads to one output: a column of a dense kernel (in, out), a filter of a
    convolution (height, width, in, out), one head of a bias table (heads, offsets). A vector is one
    unit as a whole.
    """
    rank = len(variable.shape)
    if rank <= 1:
        return tuple(range(rank))
    if own_name(variable) == "attention_biases":
        return tuple(range(1, rank))
    return tuple(range(rank - 1))


def clip(
    gradient: tf.Tensor, weights: tf.Tensor, axes: tuple[int, ...], factor: float
) -> tf.Tensor:
    """Scales each unit of a gradient to at most `factor` times the norm of the unit's weights.

    Args:
      gradient: of the shape of `weights`.
      weights: before the update.
      axes: a result of `unit_axes`.
      factor: 0.01 in the recipe.

    Returns:
      Of the shape of `gradient`.
    """
    largest = factor * tf.maximum(_norm(weights, axes), SMALLEST_WEIGHT_NORM)
    norm = _norm(gradient, axes)
    scale = largest / tf.maximum(norm, SMALLEST_GRADIENT_NORM)
    return gradient * tf.where(norm < largest, 1.0, scale)


def _norm(x: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=axes, keepdims=True))
