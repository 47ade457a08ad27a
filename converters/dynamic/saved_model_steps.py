"""Writes a classifier in steps as a SavedModel: only rows that are not confident go on.

For one picture this is a `tf.cond` after each step. For a batch, the rows that go on are gathered,
and the remaining steps are skipped in the same way if there are none. So both use one graph, with
one copy of the weights.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from converters.deploy import NORMALIZE, core_of, deploy_exits, deploy_graph, layer_or_none
from converters.dynamic.graph import check_cascade
from converters.saved_model.input_checks import checked_batch
from converters.saved_model.tensorflow_graph import respelled
from converters.saved_model.writing import write_saved_model
from levit_common.shipped_names import (
    EXIT,
    INPUT,
    LOGITS,
    PROBABILITIES,
    SHARPNESS,
    SIGNATURE,
    THRESHOLDS,
    THRESHOLDS_SIGNATURE,
)
from levit_tf.dynamic.steps import STATE, steps_of_exits


def write_steps(
    models: Sequence[keras.Model],
    path: str | os.PathLike,
    sharpness: Sequence[float],
    thresholds: Sequence[float],
    input_range: str | None = None,
) -> None:
    """Writes the SavedModel.

    Args:
      models: see `converters.dynamic.graph.dynamic_graph`.
      path: the directory to write.
      sharpness: 1 / temperature of each step except the last.
      thresholds: confidence from which on pictures leave at each of these steps.
      input_range: see `converters.deploy.deploy_graph`.
    """
    shared = steps_function(models, sharpness, input_range)
    images_spec, thresholds_spec = shared.structured_input_signature[0]

    @tf.function(input_signature=[images_spec], autograph=False)
    def serve(images):
        found = shared(images, tf.constant(np.float32(thresholds), name=THRESHOLDS))
        return {name: found[name] for name in (PROBABILITIES, LOGITS, EXIT)}

    @tf.function(input_signature=[images_spec, thresholds_spec], autograph=False)
    def serve_with_thresholds(images, thresholds):
        return shared(images, thresholds)

    signatures = {SIGNATURE: serve, THRESHOLDS_SIGNATURE: serve_with_thresholds}
    write_saved_model(tf.Module(), path, signatures)


def steps_function(
    models: Sequence[keras.Model], sharpness: Sequence[float], input_range: str | None = None
) -> tf.types.experimental.ConcreteFunction:
    """Builds the served function from (images, thresholds) to logits, probabilities and exits.

    Args:
      models: see `write_steps`.
      sharpness: see `write_steps`.
      input_range: see `write_steps`.

    Returns:
      One function that several signatures share, so that a SavedModel stores the weights once.
    """
    steps = _steps(models, input_range)
    shape = models[0].inputs[0].shape[1:]
    images_spec = tf.TensorSpec((None, *shape), tf.float32, name=INPUT)
    thresholds_spec = tf.TensorSpec((len(steps) - 1,), tf.float32, name=THRESHOLDS)

    @tf.function(input_signature=[images_spec, thresholds_spec], autograph=False)
    def answer(images, thresholds):
        images = checked_batch(images, INPUT, shape)
        thresholds = tf.ensure_shape(thresholds, thresholds_spec.shape)
        factors = tf.constant(np.float32(sharpness), name=SHARPNESS)
        return _from_step(steps, 0, images, thresholds, factors)

    return answer.get_concrete_function()


class _Step:
    """One step: a function from its input to its logits and the input of the next step."""

    def __init__(self, core: keras.Model, normalize: keras.layers.Layer | None):
        self._core = respelled(core, "float32")
        self._normalize = normalize
        self._arrays = [
            [keras.ops.convert_to_numpy(v) for v in variables]
            for variables in (self._core.trainable_variables, self._core.non_trainable_variables)
        ]

    def __call__(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        # Created in the function that uses them, see `converters.saved_model.tensorflow_graph`.
        weights = [[tf.constant(array) for array in group] for group in self._arrays]
        x = x if self._normalize is None else self._normalize(x)
        found, _ = self._core.stateless_call(*weights, x, training=False)
        if not isinstance(found, dict):
            return tf.cast(found, tf.float32), None
        return tf.cast(found[LOGITS], tf.float32), found.get(STATE)


def _steps(models: Sequence[keras.Model], input_range: str | None) -> list[_Step]:
    if len(models) > 1:
        check_cascade(models)
        graphs = [deploy_graph(model, input_range=input_range) for model in models]
        return [_Step(core_of(g), layer_or_none(g, NORMALIZE)) for g in graphs]
    graph = deploy_exits(models[0], input_range=input_range)
    networks = steps_of_exits(core_of(graph)).networks
    normalize = layer_or_none(graph, NORMALIZE)
    return [
        _Step(network, normalize if number == 0 else None)
        for number, network in enumerate(networks)
    ]


def _from_step(
    steps: Sequence[_Step],
    number: int,
    state: tf.Tensor,
    thresholds: tf.Tensor,
    sharpness: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Builds the outputs of the steps from `number` on, for all rows of the input `state`."""
    logits, left = steps[number](state)
    exits = tf.fill([tf.shape(logits)[0]], number)
    if number + 1 == len(steps):
        return {LOGITS: logits, PROBABILITIES: tf.nn.softmax(logits), EXIT: exits}
    probabilities = tf.nn.softmax(logits * sharpness[number])
    found = {LOGITS: logits, PROBABILITIES: probabilities, EXIT: exits}
    unsure = tf.where(tf.reduce_max(probabilities, axis=1) < thresholds[number])  # (rows, 1)
    # Input of the next step: the pictures again (cascade), or this step's feature map (exits).
    handed = state if left is None else left

    def go_on():
        rows = tf.gather(handed, unsure[:, 0])
        later = _from_step(steps, number + 1, rows, thresholds, sharpness)
        return {
            name: tf.tensor_scatter_nd_update(array, unsure, later[name])
            for name, array in found.items()
        }

    return tf.cond(tf.size(unsure) > 0, go_on, lambda: dict(found))
