"""Prepares a float network for int8 in all ops, so that XNNPACK can run it.

In int8, XNNPACK does not support HARD_SWISH, and BATCH_MATMUL only if the zero point of its second
operand is 0. TFLite's own kernels for them take more than two thirds of the time of a LeViT-256 on
x86-64.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np

from converters.tflite.quantization_ranges import Ranges
from converters.tflite.tflite_graph import LINEAR, PASSING_ON, Graph

_RELU6 = 3  # value in the schema's ActivationFunctionType
_SUM_SUFFIX = "/plus_three"
# x * relu6(x + 3) is six times hard-swish.
_FACTOR = 6


def integer_graph(graph: Graph, ranges: Ranges) -> dict[str, dict[str, np.ndarray]]:
    """Replaces HARD_SWISH by ADD with relu6, and MUL.

    The factor 1/6 is included in the kernels that follow. If anything else than convolutions and
    dense layers follows, HARD_SWISH is kept.

    Args:
      graph: a float32 graph. It is changed, but computes the same; tensors keep their names, and
        the sums are added as new tensors.
      ranges: ranges of tensors in `graph`.

    Returns:
      `ranges` for the changed graph.
    """
    first = graph.first_of_chain()
    scaled = {name: dict(values) for name, values in ranges.items()}
    for operator in list(graph.operators):
        if graph.kind(operator) != "HARD_SWISH":
            continue
        (source,), (output,) = graph.inputs_of(operator), graph.outputs_of(operator)
        kernels = list(_kernels_after(graph, output))
        if None in kernels:
            continue
        _replace(graph, operator, output)
        for name in kernels:
            graph.set_constant(name, graph.constant(name) / _FACTOR)
        chain = [output, *(name for name, start in first.items() if start == output)]
        _scale(scaled, chain, _FACTOR)
        _scale(scaled, kernels, 1 / _FACTOR)
        known = scaled.get(first.get(source, source)) or scaled.get(source)
        if known:
            high = np.clip(np.float32(np.max(known["max"])) + 3, 0, 6)
            scaled[output + _SUM_SUFFIX] = {"min": np.float32(0), "max": high}
    return scaled


def products(graph: Graph) -> list[str]:
    """Returns the outputs of attention's matrix products."""
    return [
        graph.outputs_of(operator)[0]
        for operator in graph.operators
        if graph.kind(operator) == "BATCH_MATMUL"
    ]


def symmetric_tensors(graph: Graph, products_in_float: Container[str] = ()) -> list[str]:
    """Returns tensors that need zero point 0 in XNNPACK: second operands of products (k and v)."""
    return [
        graph.inputs_of(operator)[1]
        for operator in graph.operators
        if graph.kind(operator) == "BATCH_MATMUL"
        and graph.outputs_of(operator)[0] not in products_in_float
    ]


def make_interface_uint8(graph: Graph) -> None:
    """Turns int8 inputs and outputs into uint8, by QUANTIZE ops next to them.

    The values stay the same, because the zero points are higher by 128. Float outputs stay float.
    """
    for name in graph.inputs() + graph.outputs():
        if graph.is_int8(name):
            graph.make_uint8(name)


def _kernels_after(graph: Graph, name: str) -> Iterator[str | None]:
    """Yields the kernels of the linear layers that read a tensor; None for any other reader."""
    if name in graph.outputs():
        yield None
    for operator in graph.consumers(name):
        if graph.kind(operator) in PASSING_ON:
            yield from _kernels_after(graph, graph.outputs_of(operator)[0])
        elif graph.kind(operator) in LINEAR:
            kernel = graph.inputs_of(operator)[1]
            own = graph.is_constant(kernel) and len(list(graph.consumers(kernel))) == 1
            yield kernel if own else None
        else:
            yield None


def _replace(graph: Graph, operator, output: str) -> None:
    three = graph.add_constant(f"{output}/three", np.array(3, np.float32))
    total = graph.add_activation(output + _SUM_SUFFIX, graph.tensors[output].shape)
    x, y = operator.inputs[0], operator.outputs[0]
    place = graph.operators.index(operator)
    graph.operators[place : place + 1] = [
        graph.operator("ADD", [x, three], [total], fusedActivationFunction=_RELU6),
        graph.operator("MUL", [x, total], [y]),
    ]


def _scale(ranges: dict, names: list[str], factor: float) -> None:
    for name in set(names) & set(ranges):
        ranges[name] = {end: value * np.float32(factor) for end, value in ranges[name].items()}
