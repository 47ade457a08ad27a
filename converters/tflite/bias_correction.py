"""Moves the biases of an int8 network so that each channel's mean is that of the float network.

Rounding shifts the mean of many channels: values beyond a range are cut off, and attention weights
below half a step become 0. These shifts add up from layer to layer. As each layer's bias is moved
by the shift that its output has, once the layers before are corrected, they end where they begin.
After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv 1906.04721, section 4.2, here with the means of calibration pictures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converters.tflite.integer_grid import grid_of, integers_of, scales_of
from converters.tflite.quantization_ranges import LARGEST_BIAS
from converters.tflite.tapped_network import TappedNetwork
from converters.tflite.tflite_graph import LINEAR, Graph

_NO_ACTIVATION = 0  # value in the schema's ActivationFunctionType


def correct_biases(graph: Graph, quantized: Graph, images: np.ndarray) -> None:
    """Corrects the biases of convolutions and dense layers, in place.

    The integer network is run in parts, each of which begins with layers that do not depend on one
    another, so that every layer sees the corrected values of those before.

    Args:
      graph: the float32 graph that was quantised; tensors have the same names.
      quantized: its quantised graph.
      images: calibration pictures (n, height, width, channels), values 0..255.
    """
    layers = {
        quantized.outputs_of(operator)[0]: operator
        for operator in quantized.operators
        if _has_bias(quantized, operator) and quantized.outputs_of(operator)[0] in graph.tensors
    }
    expected = _float_means(graph, {name: _limits(quantized, name) for name in layers}, images)
    (pixels,) = quantized.inputs()
    held = {pixels: [_integers(quantized, pixels, image[np.newaxis]) for image in images]}
    for operators, later in _parts(quantized, layers):
        own = [name for operator in operators for name in quantized.outputs_of(operator)]
        corrected = [name for name in own if name in layers]
        found = _run(quantized, operators, corrected, held)
        for name in corrected:
            _correct(quantized, layers[name], expected[name] - _mean(quantized, name, found[name]))
        held |= _run(quantized, operators, [name for name in own if name in later], held)
        held = {name: values for name, values in held.items() if name in later}


def _has_bias(graph: Graph, operator) -> bool:
    """Whether an op is an int8 layer with a bias of its own, which moves its output as it is."""
    if graph.kind(operator) not in LINEAR:
        return False
    source, kernel, *bias = graph.inputs_of(operator)
    return (
        graph.is_int8(source)
        and graph.is_int8(kernel)
        and operator.builtinOptions.fusedActivationFunction == _NO_ACTIVATION
        and bool(bias)
        and len(list(graph.consumers(bias[0]))) == 1
    )


def _limits(graph: Graph, name: str) -> tuple[float, float]:
    """The smallest and largest number that a tensor can hold."""
    if not graph.is_int8(name):
        return -np.inf, np.inf
    return grid_of(graph, name).limits()


def _float_means(
    graph: Graph, limits: dict[str, tuple[float, float]], images: np.ndarray
) -> dict[str, np.ndarray]:
    """(channels,) of each tensor of the float network, over all pictures.

    Values are cut off where the integers end. Calibration cut them off on purpose, such as those
    that hard-swish maps to 0, and the bias must not make up for it.
    """
    network = TappedNetwork(graph.content())
    totals = dict.fromkeys(limits, 0.0)
    for image in images:
        network.run(image)
        for name, (low, high) in limits.items():
            totals[name] = totals[name] + _channel_means(network[name].clip(low, high))
    return {name: total / len(images) for name, total in totals.items()}


def _parts(graph: Graph, layers: dict) -> Iterator[tuple[list, set[str]]]:
    """Yields (ops, names of the tensors that later ops read), in execution order.

    No layer to correct reads anything that another one of the same part has computed.
    """
    parts, behind = [[]], set()
    for operator in graph.operators:
        outputs = graph.outputs_of(operator)
        depends = bool(behind.intersection(graph.inputs_of(operator)))
        if depends and outputs[0] in layers:
            parts.append([])
            behind, depends = set(), False
        if depends or outputs[0] in layers:
            behind.update(outputs)
        parts[-1].append(operator)
    for number, operators in enumerate(parts):
        after = (operator for part in parts[number + 1 :] for operator in part)
        yield operators, {name for operator in after for name in graph.inputs_of(operator)}


def _run(graph: Graph, operators: list, outputs: list[str], held: dict) -> dict[str, list]:
    """Values of some tensors of each picture, from those that are held."""
    from ai_edge_litert.interpreter import Interpreter

    if not outputs:
        return {}
    content, inputs = graph.part(operators, outputs)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    places = [detail["index"] for detail in interpreter.get_input_details()]
    ends = [detail["index"] for detail in interpreter.get_output_details()]
    found = {name: [] for name in outputs}
    for number in range(len(held[inputs[0]])):
        for name, place in zip(inputs, places, strict=True):
            interpreter.set_tensor(place, held[name][number])
        interpreter.invoke()
        for name, place in zip(outputs, ends, strict=True):
            found[name].append(interpreter.get_tensor(place))
    return found


def _mean(graph: Graph, name: str, values: list[np.ndarray]) -> np.ndarray:
    """(channels,) of a tensor of the integer network, as numbers of the float one."""
    mean = np.mean([_channel_means(value) for value in values], axis=0)
    return grid_of(graph, name).numbers(mean) if graph.is_int8(name) else mean


def _correct(graph: Graph, operator, shift: np.ndarray) -> None:
    source, kernel, bias = graph.inputs_of(operator)
    steps = grid_of(graph, source).scale * scales_of(graph, kernel)
    moved = np.divide(shift, steps, out=np.zeros_like(shift), where=steps > 0)
    integers = integers_of(graph, bias, np.int32)
    corrected = np.rint(integers + moved).clip(-LARGEST_BIAS, LARGEST_BIAS)
    graph.set_constant(bias, corrected.astype(np.int32))


def _integers(graph: Graph, name: str, values: np.ndarray) -> np.ndarray:
    """Pixels as the graph takes them."""
    if not graph.is_int8(name):
        return values.astype(np.float32)
    return grid_of(graph, name).integers(values)


def _channel_means(values: np.ndarray) -> np.ndarray:
    # (..., channels) -> (channels,)
    return values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
