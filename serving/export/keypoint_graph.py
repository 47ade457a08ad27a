"""Builds the graph that TensorFlow Serving runs for a network that predicts joints."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from converters.choices import CONSTANTS
from converters.saved_model.tensorflow_graph import tensorflow_function
from levit_lite.class_names import check_class_names
from levit_tf.keypoints.whole_picture import fit_whole, to_picture
from serving.export import box_graph
from serving.export.picture_graph import MAX_PICTURES, batch_decoder
from serving.signatures import (
    BOXES,
    IMAGE_BYTES,
    IMAGE_TENSOR,
    IMAGES,
    JOINTS,
    KEYPOINTS,
    SERVING_DEFAULT,
)


def keypoint_signatures(
    graph: keras.Model, joints: Sequence[str], precision: str = "float32", weights: str = CONSTANTS
) -> dict[str, tf.types.experimental.GenericFunction]:
    """Builds the signatures around one network that predicts joints.

    Args:
      graph: a result of `converters.deploy.deploy_graph`.
      joints: names of the joints.
      precision: see `converters.saved_model.tensorflow_graph.tensorflow_function`.
      weights: see `converters.saved_model.tensorflow_graph.tensorflow_function`.

    Returns:
      A `tf.function` for each signature of joints in `serving.signatures`. They share the network
      with its weights as one function.

    Raises:
      ValueError: the number of names is not that of the joints.
    """
    size = tuple(graph.input.shape[1:3])
    names = check_class_names(joints, graph.output[KEYPOINTS].shape[1], "class_names")
    network = tensorflow_function(graph, precision, weights=weights)
    decode = batch_decoder(size, fit_whole).get_concrete_function()
    decode_boxes = batch_decoder(size, box_graph.cut_box, [box_graph.BOX]).get_concrete_function()

    def named(keypoints):
        count = tf.shape(keypoints)[0]
        return {KEYPOINTS: keypoints, JOINTS: tf.tile(tf.constant([names]), [count, 1])}

    def of_pixels(images):
        return named(network(images)[KEYPOINTS])

    def of_bytes(contents):
        images, sides = decode(contents)
        x, y, confidence = tf.unstack(network(tf.cast(images, tf.float32))[KEYPOINTS], axis=-1)
        height, width = tf.split(sides, 2, axis=1)  # (batch, 1)
        return named(tf.stack([*to_picture(x, y, height, width, size), confidence], axis=-1))

    def of_boxes(contents, boxes):
        contents, boxes = box_graph.checked_boxes(contents, boxes, MAX_PICTURES)
        images, sides = decode_boxes(contents, boxes)
        boxes = box_graph.inside(boxes, sides)
        x, y, confidence = tf.unstack(network(tf.cast(images, tf.float32))[KEYPOINTS], axis=-1)
        return named(tf.stack([*box_graph.to_picture(x, y, boxes, size), confidence], axis=-1))

    def signature(function, *specs):
        return tf.function(function, input_signature=specs, autograph=False)

    contents = tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)
    boxes = tf.TensorSpec([None, 4], tf.float32, name=BOXES)
    images = tf.TensorSpec([None, *size, 3], tf.float32, name=IMAGES)
    return {
        SERVING_DEFAULT: signature(of_bytes, contents),
        IMAGE_TENSOR: signature(of_pixels, images),
        BOXES: signature(of_boxes, contents, boxes),
    }
