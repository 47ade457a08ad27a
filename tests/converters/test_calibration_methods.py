"""Ranges by each calibration method, against numpy's own answer from the same values."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from converters import to_tflite as to_tflite_command
from converters.choices import CALIBRATION_METHODS, DEFAULT_CALIBRATION_METHOD
from converters.deploy import deploy_graph
from converters.tflite.conversion import float32_graph
from converters.tflite.histogram_ranges import CLIPS
from converters.tflite.integer_graph import symmetric_tensors
from converters.tflite.quantize import quantize_full_int8, quantize_mixed_int8
from converters.tflite.similar_ranges import most_similar_ranges, reading_layers
from converters.tflite.tapped_network import TappedNetwork
from converters.tflite.tflite_graph import Graph
from converters.to_tflite import to_tflite
from tests.support.cases import slow, some_slow
from tests.support.commands import call
from tests.support.export_cases import rgb_images, shared_model


@pytest.fixture(scope="module")
def images():
    """Of different contrasts, so that a few pictures have values that others never come near."""
    plain = rgb_images(16, seed=3)
    contrast = np.linspace(0.05, 1, len(plain))[:, None, None, None]
    return ((plain - 128) * contrast + 128).astype(np.float32)


@pytest.fixture(scope="module")
def content():
    return float32_graph(deploy_graph(shared_model(), batch_size=1)).content()


@pytest.fixture(scope="module")
def values(content, images):
    """Tensor -> its values on each picture, (n, values)."""
    network, graph = TappedNetwork(content), Graph(content)
    names = [name for op in graph.operators for name in graph.outputs_of(op)]
    found = {name: [] for name in names}
    for image in images:
        network.run(image)
        for name in names:
            found[name].append(network[name].copy())
    return {name: np.stack(arrays) for name, arrays in found.items()}


@pytest.fixture(scope="module")
def ranges(content, images):
    """Method -> tensor -> (low, high) that the quantised file stands for."""
    return {
        method: ranges_in(quantize_mixed_int8(Graph(content), images, method=method).content())
        for method in CALIBRATION_METHODS
    }


def ranges_in(content):
    found = {}
    for tensor in Interpreter(model_content=content).get_tensor_details():
        scale, zero_point = tensor["quantization"]
        if tensor["dtype"] == np.int8 and scale:
            name = tensor["name"].removesuffix("_quantized")
            found[name] = (scale * (-128 - zero_point), scale * (127 - zero_point))
    return found


def outputs_of_kind(content, kind):
    graph = Graph(content)
    return [graph.outputs_of(op)[0] for op in graph.operators if graph.kind(op) == kind]


def read_by(content, name):
    graph = Graph(content)
    return {graph.kind(op) for op in graph.consumers(name)}


def hard_swish(x):
    return x * np.clip(x + 3, 0, 6) / 6


def as_int8(x, low, high):
    """What 256 even steps from low to high make of float64 values, 0 being one of them."""
    step = (high - low) / 255
    zero = round(-low / step)
    return (np.clip(np.round(x / step), -zero, 255 - zero)) * step


def cosine(x, y):
    return np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y))


def step_of(extent):
    return (extent[1] - extent[0]) / 255


def not_symmetric(content):
    """Outputs of convolutions, but for k and v, whose ranges are widened for a zero point of 0."""
    graph = Graph(content)
    first = graph.first_of_chain()
    widened = {first.get(name, name) for name in symmetric_tensors(graph)}
    return [name for name in outputs_of_kind(content, "CONV_2D") if name not in widened]


@pytest.mark.slow
def test_min_max_takes_the_smallest_and_the_largest_value(content, values, ranges):
    for name in not_symmetric(content):
        found = ranges["min_max"][name]
        expected = (min(values[name].min(), 0), max(values[name].max(), 0))
        np.testing.assert_allclose(found, expected, atol=step_of(expected))


@pytest.mark.slow
def test_percentile_leaves_out_one_value_in_ten_thousand_at_either_end(content, values, ranges):
    narrower = 0
    for name in not_symmetric(content)[:8]:
        found = ranges["percentile"][name]
        expected = np.quantile(values[name], [1e-4, 1 - 1e-4], method="inverted_cdf")
        extent = (values[name].min(), values[name].max())
        # To a bin of the histogram, and to the step of the integers that zero is moved to.
        np.testing.assert_allclose(found, expected, atol=1.6 * step_of(extent))
        narrower += found[1] - found[0] < extent[1] - extent[0] - 2 * step_of(extent)
    assert narrower >= 4


def least_error(x, function):
    """The mean squared error of the best range of the grid, tried one by one on all values."""
    lows = np.unique(CLIPS * min(x.min(), 0))
    highs = np.unique(CLIPS * max(x.max(), 0))
    expected = function(x)
    return min(
        np.mean((function(as_int8(x, low, high)) - expected) ** 2)
        for low in lows[::4]
        for high in highs[::4]
    )


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["HARD_SWISH", "CONV_2D"])
def test_mse_takes_the_range_of_the_least_error_behind_hard_swish(content, values, ranges, reader):
    function = hard_swish if reader == "HARD_SWISH" else np.asarray
    kinds = ("CONV_2D", "ADD", "HARD_SWISH")
    names = [
        name
        for kind in kinds
        for name in outputs_of_kind(content, kind)
        if name in ranges["mse"] and read_by(content, name) == {reader}
    ]
    better = 0
    for name in names:
        x = values[name].astype(np.float64).ravel()
        error, extremes = (
            np.mean((function(as_int8(x, *ranges[method][name])) - function(x)) ** 2)
            for method in ("mse", "min_max")
        )
        assert error <= 1.05 * least_error(x, function)
        better += error < 0.98 * extremes
    assert better


@pytest.mark.slow
def test_similarity_takes_ranges_whose_readers_return_what_is_closer_to_float(
    content, values, ranges
):
    names = [
        name
        for name in outputs_of_kind(content, "CONV_2D")
        if read_by(content, name) == {"HARD_SWISH"}
    ]
    assert ranges["similarity"] != ranges["mse"]
    for name in names:
        x = values[name].astype(np.float64)
        scores = {}
        for method in ("similarity", "mse", "min_max"):
            rounded = as_int8(x, *ranges[method][name])
            pairs = zip(hard_swish(rounded), hard_swish(x), strict=True)
            scores[method] = np.mean([1 - cosine(a, b) for a, b in pairs])
        assert scores["similarity"] <= 1.02 * min(scores["mse"], scores["min_max"])


@pytest.mark.slow
def test_the_most_similar_of_the_ranges_around_a_start_is_taken(content, images, values):
    graph, tried = Graph(content), {}
    measured = {
        name: (float(values[name].min()), float(values[name].max()))
        for name in outputs_of_kind(content, "CONV_2D")
        if read_by(content, name) == {"HARD_SWISH"}
    }
    for name, (low, high) in measured.items():
        tried[name] = [
            (max(low / 2 * factor, low), max(min(high / 2 * factor, high), 0))
            for factor in (1, 0.7, 0.8, 0.9, 1.1, 1.25, 2)
        ]
    starts = {name: extents[0] for name, extents in tried.items()}
    found = most_similar_ranges(graph, TappedNetwork(content), starts, measured, images)
    for name, extents in tried.items():
        x = values[name].astype(np.float64)
        scores = [
            np.mean([cosine(hard_swish(as_int8(y, *e)), hard_swish(y)) for y in x]) for e in extents
        ]
        best = extents[int(np.argmax(scores))]
        np.testing.assert_allclose(found[name], best, rtol=1e-5)
        assert best != starts[name]


def attention_inputs(content):
    """(k's tensor, names of the product's operands, the bias, softmax) of the first attention."""
    graph = Graph(content)
    product = next(op for op in graph.operators if graph.kind(op) == "BATCH_MATMUL")
    q, k = graph.inputs_of(product)
    (add,) = graph.consumers(graph.outputs_of(product)[0])
    (softmax,) = graph.consumers(graph.outputs_of(add)[0])
    (bias,) = (name for name in graph.inputs_of(add) if graph.is_constant(name))
    return graph.first_of_chain()[k], q, k, graph.constant(bias), graph.outputs_of(softmax)[0]


def ranks(x):
    return np.argsort(np.argsort(x, axis=-1, kind="stable"), axis=-1) - (x.shape[-1] - 1) / 2


@pytest.mark.slow
def test_similarity_keeps_the_order_of_attention(content, values, ranges):
    source, q, k, bias, softmax = attention_inputs(content)
    scores = {}
    for method in ("similarity", "mse", "min_max"):
        low, high = ranges[method][source]
        found = values[q].astype(np.float64) @ as_int8(values[k].astype(np.float64), low, high)
        weights = np.exp(found + bias - (found + bias).max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        pairs = list(zip(weights, values[softmax], strict=True))
        by_value = np.mean([cosine(a, b) for a, b in pairs])
        # float32 and float64 order ties differently, which both methods suffer alike.
        by_rank = np.mean([cosine(ranks(a), ranks(b)) for a, b in pairs])
        scores[method] = (by_value + by_rank) / 2
    assert scores["similarity"] >= max(scores["mse"], scores["min_max"]) - 1e-5


def test_readers_are_followed_to_what_computes_and_scores_to_their_softmax(content, images, values):
    source, *_, softmax = attention_inputs(content)
    graph = Graph(content)
    operators, outputs = reading_layers(graph, source)
    kinds = [graph.kind(op) for op in operators]
    assert kinds == ["RESHAPE", "TRANSPOSE", "BATCH_MATMUL", "ADD", "SOFTMAX"]
    assert outputs == [softmax]
    part, inputs = graph.part(operators, outputs)
    interpreter = Interpreter(model_content=part)
    interpreter.allocate_tensors()
    for name, details in zip(inputs, interpreter.get_input_details(), strict=True):
        interpreter.set_tensor(details["index"], values[name][0])
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, values[softmax][0], atol=1e-6)
    assert graph.content() == content  # the graph itself is as it was


@pytest.mark.parametrize("method", some_slow(CALIBRATION_METHODS, fast=["percentile"]))
def test_a_file_says_how_it_was_calibrated_and_answers_like_keras(method, images, tmp_path):
    about = to_tflite(
        shared_model(),
        tmp_path / "out.tflite",
        recipe="int8",
        outputs="logits",
        calibration_images=images,
        calibration_method=method,
    )
    assert about["calibration_method"] == method
    assert about["compared_with_keras"]["logits"]["lowest_cosine"] > 0.99


@pytest.mark.slow
def test_every_op_in_int8_has_the_ranges_of_the_method_too(content, images):
    files = {
        method: quantize_full_int8(Graph(content), images, method=method).content()
        for method in ("min_max", DEFAULT_CALIBRATION_METHOD)
    }
    found = [ranges_in(file) for file in files.values()]
    source, *_ = attention_inputs(content)
    assert found[0][source] != found[1][source]
    for extents in found:  # the zero point of k is 0
        assert extents[source][0] == pytest.approx(-extents[source][1] * 128 / 127)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"recipe": "int8", "calibration_method": "similarty"},
            r"expected one of min_max, percentile, mse, similarity\. Received: 'similarty'\. "
            r"Did you mean 'similarity'\?",
        ),
        (
            {"recipe": "dynamic", "calibration_method": "mse"},
            "recipe 'dynamic' learns no ranges from pictures; int8 and int8_full do",
        ),
        slow(
            {"recipe": "int8"},
            "needs at least 8 pictures. Received: 7. Give more, or take --calibration_method=min_m",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused_and_nothing_is_written(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_tflite(
            shared_model(), tmp_path / "out.tflite", calibration_images=rgb_images(7), **options
        )
    assert list(tmp_path.iterdir()) == []


def test_a_few_pictures_are_enough_for_min_max(content):
    quantize_mixed_int8(Graph(content), rgb_images(1), method="min_max")


def test_the_command_refuses_a_method_before_it_starts_keras(tmp_path, capsys):
    model, output = tmp_path / "none.keras", tmp_path / "out.tflite"
    arguments = [f"--model={model}", f"--output={output}", "--recipe=int8"]
    options = ["--calibration=digits", "--calibration_method=minmax"]
    assert call(to_tflite_command, [*arguments, *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Received: 'minmax'. Did you mean 'min_max'?")
