"""Builds the graph that TensorFlow Serving runs: one network with all signatures."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from converters.choices import CONSTANTS
from converters.deploy import class_count
from converters.saved_model.conversion import save_signatures
from converters.saved_model.input_checks import checked_batch
from converters.saved_model.tensorflow_graph import tensorflow_function
from levit_lite.class_names import check_class_names
from levit_tf.sizes import side_stride
from serving.export.kept_shapes import keep_shape, one_by_one
from serving.export.picture_graph import MAX_PICTURES, batch_decoder
from serving.signatures import (
    CLASSES,
    CLASSIFY,
    CLASSIFY_METHOD,
    ENCODED_FEATURE,
    EXAMPLES,
    EXIT,
    IMAGE_BYTES,
    IMAGE_TENSOR,
    IMAGES,
    LOGITS,
    PROBABILITIES,
    SCORES,
    SERVING_DEFAULT,
    THRESHOLDS,
    THRESHOLDS_SIGNATURE,
    TOP_K,
    outputs_of,
)

Signature = Callable[..., dict[str, tf.Tensor]]


class Dynamic(NamedTuple):
    """A dynamic classifier, which computes in steps.

    Attributes:
      function: see `converters.dynamic.saved_model_steps.steps_function`.
      thresholds: confidence at which each step but the last one ends the computation.
    """

    function: Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
    thresholds: Sequence[float]


def serving_signatures(
    graph: keras.Model,
    class_names: Sequence[str],
    *,
    precision: str = "float32",
    weights: str = CONSTANTS,
    top_k: int = TOP_K,
    dynamic: Dynamic | None = None,
    keep_shape_up_to: int | None = None,
) -> dict[str, Signature]:
    """Builds the signatures around one network.

    Args:
      graph: a result of `converters.deploy.deploy_graph`.
      class_names: one name for each class.
      precision: see `converters.saved_model.tensorflow_graph.tensorflow_function`.
      weights: see `converters.saved_model.tensorflow_graph.tensorflow_function`.
      top_k: number of classes to return; all of them if there are fewer.
      dynamic: a dynamic classifier to run instead of `graph`, which is its whole network.
      keep_shape_up_to: for a network that accepts every size, the longest side in pixels; pictures
        keep their shape up to it.

    Returns:
      A `tf.function` for each signature. They share the network with its weights as one function,
      so that a SavedModel contains it once.

    Raises:
      ValueError: an argument is not valid.
    """
    classes = class_count(graph)
    names = check_class_names(class_names, classes, "class_names")
    if top_k < 1:
        raise ValueError(f"The number of classes to name must be positive. Received: {top_k}")
    if dynamic is None:
        network = tensorflow_function(graph, precision, keep_shape_up_to, weights)
    else:

        def network(images):
            return dynamic.function(images, tf.constant(np.float32(dynamic.thresholds)))

    height, width = graph.input.shape[1:3]
    if keep_shape_up_to is None:
        decode = batch_decoder((height, width)).get_concrete_function()
    else:
        kept = keep_shape_up_to, side_stride(graph)
        decode = batch_decoder((kept[0],) * 2, keep_shape(*kept)).get_concrete_function()

    def named(outputs):
        logits, probabilities = outputs[LOGITS], outputs[PROBABILITIES]
        # Equal scores are in the order of the classes, as in levit_lite.class_names.top_classes.
        scores, indices = tf.math.top_k(probabilities, min(top_k, classes))
        labels = tf.gather(tf.constant(names), indices)
        found = {CLASSES: labels, SCORES: scores, PROBABILITIES: probabilities, LOGITS: logits}
        return {**found, EXIT: outputs[EXIT]} if dynamic else found

    def answer(images):
        return named(network(images))

    def of_bytes(contents):
        images, sides = decode(contents)
        if keep_shape_up_to is None:
            return answer(tf.cast(images, tf.float32))
        return named(
            one_by_one(
                network, dict.fromkeys((LOGITS, PROBABILITIES), classes), images, sides, *kept
            )
        )

    def of_examples(examples):
        examples = checked_batch(examples, EXAMPLES, (), MAX_PICTURES)
        feature = {ENCODED_FEATURE: tf.io.FixedLenFeature([], tf.string)}
        return of_bytes(tf.io.parse_example(examples, feature)[ENCODED_FEATURE])

    def signature(name, function, spec):
        def serve(x):
            outputs = function(x)
            return {output: outputs[output] for output in outputs_of(name, dynamic is not None)}

        return tf.function(serve, input_signature=[spec], autograph=False)

    contents = tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)
    images = tf.TensorSpec([None, height, width, 3], tf.float32, name=IMAGES)
    examples = tf.TensorSpec([None], tf.string, name=EXAMPLES)
    signatures = {
        SERVING_DEFAULT: signature(SERVING_DEFAULT, of_bytes, contents),
        IMAGE_TENSOR: signature(IMAGE_TENSOR, answer, images),
        CLASSIFY: signature(CLASSIFY, of_examples, examples),
    }
    if dynamic is not None:

        def of_thresholds(images, thresholds):
            outputs = named(dynamic.function(images, thresholds))
            return {output: outputs[output] for output in outputs_of(IMAGE_TENSOR, True)}

        thresholds = tf.TensorSpec([len(dynamic.thresholds)], tf.float32, name=THRESHOLDS)
        signatures[THRESHOLDS_SIGNATURE] = tf.function(
            of_thresholds, input_signature=[images, thresholds], autograph=False
        )
    return signatures


def write_saved_model(path: str | os.PathLike, signatures: dict[str, Signature]) -> None:
    """Writes the signatures of `serving_signatures` as a SavedModel.

    Args:
      path: the folder to write.
      signatures: the functions by signature name.
    """
    path = os.fspath(path)
    save_signatures(signatures, path)
    if CLASSIFY not in signatures:
        return
    # TensorFlow names the method of every function's signature "predict".
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(path)
    updater.replace_method_name(CLASSIFY, CLASSIFY_METHOD)
    updater.save()
