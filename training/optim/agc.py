"""Adaptive gradient clipping: limits a gradient relative to the weights that it changes.

Source: `adaptive_clip_grad` of timm/utils/agc.py; paper arXiv 2102.06171. main.py of
facebookresearch/LeViT clips all parameters, including those of the heads.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from training.optim.variables import own_name

SMALLEST_WEIGHT_NORM = 1e-3
SMALLEST_GRADIENT_NORM = 1e-6


def unit_axes(variable: keras.Variable | tf.Variable) -> tuple[int, ...]:
    """Returns the axes over which the norm of one unit of a variable is taken.

    A unit is the set of weights that lead to one output: a column of a dense kernel (in, out), a
    filter of a convolution (height, width, in, out), or one head of a bias table (heads, offsets).
    A vector is a single unit.
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
      gradient: gradient with the shape of `weights`.
      weights: weights before the update.
      axes: a result of `unit_axes`.
      factor: largest ratio of the norms; 0.01 in the recipe.

    Returns:
      The clipped gradient, with the shape of `gradient`.
    """
    largest = factor * tf.maximum(_norm(weights, axes), SMALLEST_WEIGHT_NORM)
    norm = _norm(gradient, axes)
    scale = largest / tf.maximum(norm, SMALLEST_GRADIENT_NORM)
    return gradient * tf.where(norm < largest, 1.0, scale)


def _norm(x: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=axes, keepdims=True))
