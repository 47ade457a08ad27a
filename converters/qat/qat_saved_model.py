"""The network of quantisation-aware training as it was trained: a SavedModel that rounds.

It answers as its int8 file should, and is what that is compared with.
"""

from __future__ import annotations

import os

import tensorflow as tf

from converters.deploy import core_of, deploy_graph
from converters.qat.qat_model import QuantizedModel
from converters.qat.qat_network import fake_quantize, set_ranges
from converters.saved_model.writing import write_saved_model
from levit_common.shipped_names import INPUT, KEYPOINTS, LOGITS, PROBABILITIES, SIGNATURE
from levit_tf.keypoints.decoding import read_joints
from levit_tf.keypoints.network import DECODER


def write_fake_quantized(quantized: QuantizedModel, path: str | os.PathLike) -> None:
    """Writes the SavedModel, its names those of `levit_common.shipped_names`, for any batch size.

    Args:
      quantized: the trained network.
      path: the directory to write.
    """
    graph = deploy_graph(quantized.model)
    if KEYPOINTS in graph.output:
        decoder = core_of(graph).get_layer(DECODER)
    else:
        activation = graph.get_layer(PROBABILITIES).activation
    network = fake_quantize(graph, quantized.target)
    set_ranges(network, quantized.ranges)

    def serve(images):
        logits = network(images, training=False)
        if KEYPOINTS in graph.output:
            return {KEYPOINTS: read_joints(decoder, logits)}
        return {LOGITS: logits, PROBABILITIES: activation(logits)}

    # Of the network only its variables: tf_keras would save all of its own functions with it.
    module = tf.Module()
    module.saved = network.variables
    images = tf.TensorSpec(graph.input.shape, tf.float32, name=INPUT)
    module.serve = tf.function(serve, input_signature=[images], autograph=False)
    write_saved_model(module, path, {SIGNATURE: module.serve})
