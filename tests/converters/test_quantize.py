"""Quantising with known ranges, and the rewriting before it, which changes no result."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from converters.deploy import deploy_graph
from converters.tflite import quantize as quantizing
from converters.tflite.conversion import float32_graph
from converters.tflite.integer_graph import integer_graph, symmetric_tensors
from converters.tflite.pixel_normalization import normalize_rows
from converters.tflite.quantize import quantize_full_int8, quantize_mixed_int8
from converters.tflite.tflite_graph import Graph
from tests.support.cases import slow
from tests.support.export_cases import relative_error, rgb_images, shared_model


def mixed_int8(content, *args, **kwargs):
    return quantize_mixed_int8(Graph(content), *args, **kwargs).content()


def full_int8(content, *args, **kwargs):
    return quantize_full_int8(Graph(content), *args, **kwargs).content()


def without_hard_swish(content):
    graph = Graph(content)
    integer_graph(graph, {})
    return graph.content()


QUANTIZERS = [mixed_int8, slow(full_int8)]
PRODUCT = "BATCH_MATMUL"


@pytest.fixture(scope="module")
def content():
    return float32_graph(deploy_graph(shared_model(), batch_size=1)).content()


@pytest.fixture(scope="module")
def images():
    return rgb_images(8, seed=3)


def logits_of(content, images):
    runner = Interpreter(model_content=content).get_signature_runner("serving_default")
    return np.concatenate([runner(images=image[None])["logits"] for image in images])


def kinds_of(content):
    graph = Graph(content)
    return [graph.kind(operator) for operator in graph.operators]


def ranges_in(content, names):
    """The range of each tensor of a quantised file, as learning would have given it."""
    tensors = {d["name"]: d for d in Interpreter(model_content=content).get_tensor_details()}
    found = {}
    for name in names:
        scale, zero_point = tensors[name]["quantization"]
        low, high = (np.float32(scale * (limit - zero_point)) for limit in (-128, 127))
        found[name] = {"min": low, "max": high}
    return found


def activations(content, kinds):
    graph = Graph(content)
    return [graph.outputs_of(op)[0] for op in graph.operators if graph.kind(op) in kinds]


@pytest.mark.slow
def test_integer_graph_computes_the_same_without_hard_swish(content, images):
    prepared = without_hard_swish(content)
    assert "HARD_SWISH" in kinds_of(content)
    assert "HARD_SWISH" not in kinds_of(prepared)
    expected = logits_of(content, images)
    assert relative_error(logits_of(prepared, images), expected) < 1e-5


@pytest.mark.slow
def test_integer_graph_scales_known_ranges_with_the_values(content):
    graph = Graph(content)
    operator = next(op for op in graph.operators if graph.kind(op) == "HARD_SWISH")
    (source,), (output,) = graph.inputs_of(operator), graph.outputs_of(operator)
    ranges = {
        source: {"min": np.float32(-4), "max": np.float32(2)},
        output: {"min": np.float32(-0.375), "max": np.float32(2)},
    }
    scaled = integer_graph(graph, ranges)
    assert scaled[source] == ranges[source]
    assert scaled[output] == {"min": -2.25, "max": 12}
    assert scaled[f"{output}/plus_three"] == {"min": 0, "max": 5}


def test_pixels_are_normalised_over_whole_rows_and_once(content):
    graph = Graph(content)
    normalize_rows(graph)
    assert kinds_of(graph.content()) == kinds_of(content)
    assert kinds_of(content)[:3] == ["RESHAPE", "DEPTHWISE_CONV_2D", "RESHAPE"]


@pytest.mark.parametrize("quantize", QUANTIZERS)
def test_second_operands_of_matrix_products_have_the_zero_point_0(quantize, content, images):
    graph = Graph(quantize(content, images))
    operands = symmetric_tensors(graph)
    assert len(operands) == 2 * softmaxes(content)
    for name in operands:
        assert list(graph.tensors[name].quantization.zeroPoint) == [0]


@pytest.mark.parametrize("quantize", QUANTIZERS)
def test_given_ranges_come_before_calibrated_ones(quantize, content, images):
    (name, *_) = activations(content, ["CONV_2D"])
    given = {name: {"min": np.float32(-10.2), "max": np.float32(15.3)}}
    found = ranges_in(quantize(content, images, given), [name])
    assert found[name]["min"] == pytest.approx(-10.2, abs=0.05)
    assert found[name]["max"] == pytest.approx(15.3, abs=0.05)


def test_ranges_of_every_activation_replace_pictures(content, images, monkeypatch):
    monkeypatch.setattr(quantizing, "correct_biases", lambda *_: None)  # this takes the pictures
    calibrated = mixed_int8(content, images)
    learned = mixed_int8(content, ranges=ranges_of_every_activation(content, calibrated))
    assert int8_products(learned) == int8_products(calibrated) == 2 * softmaxes(content)
    assert relative_error(logits_of(learned, images), logits_of(calibrated, images)) < 1e-2


def test_products_without_a_range_stay_in_float(content, images):
    """Networks that were trained for int8 before products were have none."""
    calibrated = mixed_int8(content, images)
    ranges = ranges_of_every_activation(content, calibrated)
    for name in activations(content, [PRODUCT]):
        del ranges[name]
    learned = mixed_int8(content, ranges=ranges)
    assert int8_products(learned) == 0
    assert relative_error(logits_of(learned, images), logits_of(calibrated, images)) < 0.2


def ranges_of_every_activation(content, calibrated):
    names = {
        name
        for name in activations(content, ["CONV_2D", "FULLY_CONNECTED", "ADD", "MEAN", PRODUCT])
        if name in {d["name"] for d in _int8_tensors(calibrated)}
    }
    graph = Graph(calibrated)
    for operator in graph.operators:  # hard-swish is float: its range is that of the QUANTIZE
        if graph.kind(operator) == "QUANTIZE":
            names.add(graph.outputs_of(operator)[0])
    return {
        name.removesuffix("_quantized"): values
        for name, values in ranges_in(calibrated, names).items()
    }


def int8_products(content):
    graph = Graph(content)
    return sum(graph.is_int8(name) for name in activations(content, [PRODUCT]))


def softmaxes(content):
    """Those of attention; the last one makes the probabilities."""
    return kinds_of(content).count("SOFTMAX") - 1


def _int8_tensors(content):
    details = Interpreter(model_content=content).get_tensor_details()
    return [tensor for tensor in details if tensor["dtype"] == np.int8]


@pytest.mark.slow
@pytest.mark.parametrize("quantize", QUANTIZERS)
def test_kernels_take_a_range_for_each_channel(quantize, content, images):
    graph = Graph(content)
    operator = next(op for op in graph.operators if graph.kind(op) == "CONV_2D")
    kernel = graph.inputs_of(operator)[1]
    bounds = np.linspace(1, 2, graph.tensors[kernel].shape[0]).astype(np.float32)
    quantized = Graph(quantize(content, images, {kernel: {"min": -bounds, "max": bounds}}))
    scales = quantized.tensors[kernel].quantization.scale
    np.testing.assert_allclose(scales, bounds / 127, rtol=1e-6)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (None, "calibration images or known ranges; there are neither"),
        ({"nowhere": {"min": -1, "max": 1}}, "the file has no tensor 'nowhere'"),
    ],
)
@pytest.mark.parametrize("quantize", QUANTIZERS)
def test_wrong_ranges_are_named(quantize, content, ranges, message):
    with pytest.raises(ValueError, match=message):
        quantize(content, ranges=ranges)


@pytest.mark.parametrize("quantize", QUANTIZERS)
def test_missing_ranges_and_wrong_shapes_are_named(quantize, content):
    (name, *_) = activations(content, ["CONV_2D"])
    with pytest.raises(ValueError, match=r"A range is missing, and there are no images.*tensor: "):
        quantize(content, ranges={name: {"min": -1, "max": 1}})
    with pytest.raises(ValueError, match=r"its min must be one value. Received: shape \(2,\)"):
        quantize(content, ranges={name: {"min": np.zeros(2), "max": np.ones(2)}})


def test_another_io_type_is_refused(content, images):
    with pytest.raises(ValueError, match=r"uint8 or int8. Received: 'float16'"):
        full_int8(content, images, io_dtype="float16")


def test_hard_swish_stays_where_its_factor_cannot_go_into_a_kernel(images):
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, activation="hard_silu")(inputs)  # read by the pooling
    x = layers.Conv2D(4, 3, activation="hard_silu")(layers.AveragePooling2D(2)(x))
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x)))
    model = keras.Model(inputs, layers.Activation("softmax", name="predictions")(x))
    graph = deploy_graph(model, batch_size=1, input_range="normalized")
    content = float32_graph(graph).content()
    prepared = without_hard_swish(content)
    assert kinds_of(content).count("HARD_SWISH") == 2
    assert kinds_of(prepared).count("HARD_SWISH") == 1
    images = images[:, :16, :16]
    expected = logits_of(content, images)
    assert relative_error(logits_of(prepared, images), expected) < 1e-5
