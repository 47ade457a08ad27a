"""Networks that find joints round in training as their int8 file does."""

import functools
import re

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import levit_tf
from converters.choices import TARGETS
from converters.deploy import core_of, deploy_graph
from converters.qat.conversion import export
from converters.qat.qat_model import QuantizedModel, load_quantized
from converters.qat.qat_network import (
    fake_quantize,
    float_ranges,
    quantized_weights,
    ranges_of,
    set_ranges,
)
from converters.qat.twin import make_twin, set_graph_weights
from levit_tf.keypoints.decoding import read_joints
from levit_tf.keypoints.network import DECODER, keypoint_network, logits_of
from levit_tf.keypoints.skeletons import LSP
from levit_tf.prediction.network_files import read_network
from levit_tf.preprocessing import preprocess_input
from tests.support.cases import slow
from tests.support.parity import relative_error
from tests.support.randomize import random_images, randomize_keras

SIZE = (64, 96)
HEADS = ["simcc", slow("heatmap")]


@functools.cache
def _fused(head):
    backbone = levit_tf.LeViT("LeViTNano", include_top=False, input_shape=(*SIZE, 3))
    model = keypoint_network(backbone, LSP, head)
    randomize_keras(logits_of(model))
    return levit_tf.fuse(model)


def _pictures(count):
    noise = random_images(SIZE, count)
    return np.clip(128 + 40 * noise, 0, 255).astype(np.float32)


@functools.cache
def _quantized(head, target):
    """The fake-quantised network, and what is shipped of it."""
    graph = deploy_graph(_fused(head))
    network = fake_quantize(graph, target)
    set_ranges(network, float_ranges(graph, target, _pictures(8)))
    for weight in network.trainable_weights:  # as if it had been trained
        weight.assign(weight * 1.02)
    model = keras.models.clone_model(_fused(head))
    set_graph_weights(model, quantized_weights(network))
    return network, QuantizedModel(model, target, ranges_of(network))


def _integer_tensors(path):
    """(layer of a kernel, integers, scales) of the int8 tensors of a file."""
    interpreter = Interpreter(model_path=str(path))
    for tensor in interpreter.get_tensor_details():
        scales = tensor["quantization_parameters"]["scales"]
        if tensor["dtype"] == np.int8 and len(scales):
            layer = re.search(r"(\w+?)_1/(?:convolution|Tensordot/MatMul)$", tensor["name"])
            is_kernel = layer is not None and len(scales) > 1
            integers = interpreter.get_tensor(tensor["index"]) if is_kernel else None
            yield layer and layer[1], integers, scales


@pytest.mark.parametrize("head", HEADS)
def test_the_twin_has_the_logits_of_the_network(head):
    images = _pictures(2)
    twin = make_twin(deploy_graph(_fused(head)))
    found = twin(images)
    expected = logits_of(_fused(head))(preprocess_input(images), training=False)
    assert set(found) == set(expected)
    for name, logits in expected.items():
        assert relative_error(found[name].numpy(), keras.ops.convert_to_numpy(logits)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("head", ["simcc", "heatmap"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_file_has_the_weights_and_ranges_of_training(head, target, tmp_path):
    network, quantized = _quantized(head, target)
    quantized.save(tmp_path / "trained.keras")
    loaded = load_quantized(tmp_path / "trained.keras")
    assert loaded.ranges == quantized.ranges
    path = tmp_path / "joints.tflite"
    export(loaded, path, images=_pictures(8), class_names=LSP.joints)
    tensors = list(_integer_tensors(path))
    weights = quantized_weights(network)
    kernels = {layer: (q, scales) for layer, q, scales in tensors if q is not None}
    assert kernels.keys() >= {"neck_0", "neck_2", "joints", "neck_conv_4"}
    assert (kernels.keys() >= {"x", "y"}) == (head == "simcc")
    for layer, (integers, scales) in kernels.items():
        kernel = weights[layer][0]
        scale = np.abs(kernel).max(tuple(range(kernel.ndim - 1))) / 127
        expected = np.moveaxis(np.round(kernel / scale), -1, 0)  # output channels come first
        np.testing.assert_array_equal(integers, expected, err_msg=layer)
        # The fully quantised file has the 1/6 of hard-swish in the kernels behind it.
        ratios = scales / scale
        np.testing.assert_allclose(ratios, np.round(6 * ratios[0]) / 6, rtol=1e-5)
    steps = np.array([scales[0] for _, _, scales in tensors if len(scales) == 1])
    assert quantized.ranges.keys() >= {"neck_partial_0", "neck", "neck_1_resize"}
    for name, (low, high) in quantized.ranges.items():
        if not name.endswith("gate"):
            ratios = steps / ((high - low) / 255)
            assert (np.isclose(ratios, 1, rtol=1e-5) | np.isclose(ratios, 6, rtol=1e-5)).any(), name
    images = _pictures(8)
    decoder = core_of(deploy_graph(_fused(head))).get_layer(DECODER)
    expected = keras.ops.convert_to_numpy(read_joints(decoder, network(images, training=False)))
    written = read_network(path)
    joints = np.concatenate([written.outputs(image[None])["keypoints"] for image in images])
    assert np.median(np.abs(joints - expected)) < 0.05
