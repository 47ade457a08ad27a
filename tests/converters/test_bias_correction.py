"""Biases of int8 files: they fit into their integers, and keep the means of the float network."""

import numpy as np
import pytest

import levit_tf
from converters.deploy import deploy_graph
from converters.tflite import quantize as quantizing
from converters.tflite.calibration import calibration_images
from converters.tflite.calibration_methods import measure_ranges
from converters.tflite.conversion import chosen_outputs, float32_graph
from converters.tflite.quantize import quantize_full_int8, quantize_mixed_int8
from converters.tflite.tapped_network import TappedNetwork
from converters.tflite.tflite_graph import Graph
from levit_tf.prediction.network_files import read_network
from tests.support.cases import slow
from tests.support.export_cases import rgb_images, shared_model

QUANTIZERS = [quantize_mixed_int8, slow(quantize_full_int8)]
LINEAR = ("CONV_2D", "FULLY_CONNECTED")


def content_of(model):
    return float32_graph(chosen_outputs(deploy_graph(model, 1, None), "logits")).content()


@pytest.fixture(scope="module")
def trained():
    """The network of the package."""
    return content_of(levit_tf.LeViTMini())


@pytest.fixture(scope="module")
def photographs():
    return calibration_images("photographs", (80, 80))


def activations(graph):
    return [name for operator in graph.operators for name in graph.outputs_of(operator)]


def logits_of(content, images, folder):
    path = folder / "network.tflite"
    path.write_bytes(content)
    network = read_network(path)
    return np.concatenate([network.outputs(image[None])["logits"] for image in images])


@pytest.mark.parametrize("quantize", QUANTIZERS)
@pytest.mark.parametrize("with_pictures", [True, slow(False)])
def test_a_bias_that_is_all_that_training_left_of_a_filter_stays(
    quantize, with_pictures, tmp_path, monkeypatch
):
    """In steps of such a kernel, the bias is far beyond int32, in which it would wrap around."""
    monkeypatch.setattr(quantizing, "correct_biases", lambda *_: None)
    graph, images = Graph(content_of(shared_model())), rgb_images(8, seed=3)
    operator = [op for op in graph.operators if graph.kind(op) in LINEAR][-3]
    _, kernel, bias = graph.inputs_of(operator)
    values, biases = graph.constant(kernel).copy(), graph.constant(bias).copy()
    values[::2] *= 1e-8
    biases[::2] = np.where(np.arange(len(biases[::2])) % 2, 4.6, -3.1)
    graph.set_constant(kernel, values)
    graph.set_constant(bias, biases)
    content = graph.content()
    expected = logits_of(content, images, tmp_path)
    arguments = {"images": images}
    if not with_pictures:
        recipe = quantizing._static_recipe(graph)
        with quantizing.quiet():
            ranges = measure_ranges(Graph(content), recipe, images, "min_max")
        arguments = {"ranges": {name: ranges[name] for name in activations(graph)}}
    found = logits_of(quantize(Graph(content), **arguments).content(), images, tmp_path)
    assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)


@pytest.mark.parametrize("quantize", QUANTIZERS)
def test_means_of_the_logits_are_those_of_the_float_network(
    quantize, trained, photographs, tmp_path, monkeypatch
):
    expected = logits_of(trained, photographs, tmp_path).mean(0)
    shifts = {}
    for name in ("corrected", "not"):
        content = quantize(Graph(trained), photographs).content()
        shifts[name] = np.abs(logits_of(content, photographs, tmp_path).mean(0) - expected).mean()
        monkeypatch.setattr(quantizing, "correct_biases", lambda *_: None)
    assert shifts["corrected"] < 0.4 * shifts["not"]


def test_means_of_every_layer_are_within_a_step_of_its_output(trained, photographs):
    quantized = quantize_mixed_int8(Graph(trained), photographs)
    with quantizing.quiet():
        float_network, integer_network = TappedNetwork(trained), TappedNetwork(quantized.content())
    shifts = {}
    for image in photographs:
        float_network.run(image)
        integer_network.run(image)
        for operator in quantized.operators:
            (name, *_) = quantized.outputs_of(operator)
            if quantized.kind(operator) not in LINEAR or not quantized.is_int8(name):
                continue
            quantization = quantized.tensors[name].quantization
            expected = float_network[name] / quantization.scale[0] + quantization.zeroPoint[0]
            shift = integer_network[name] - expected.clip(-128, 127)
            # (..., channels) -> (channels,)
            shift = shift.reshape(-1, shift.shape[-1]).mean(0) / len(photographs)
            shifts[name] = shifts.get(name, 0) + shift
    worst = {name: np.abs(shift).max() for name, shift in shifts.items()}
    assert len(worst) > 30
    assert max(worst.values()) < 1, max(worst, key=worst.get)
