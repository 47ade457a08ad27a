"""Ranges of activations by what the layers that read them return, compared with float.

After Liu et al., "Post-Training Quantization for Vision Transformer", arXiv 2106.14156: of several
ranges of a tensor, the one whose reader is most similar to the float one; and where the reader is
an attention, the order of its weights counts as much as their values. Theirs is a search around a
first range as well. It has to start at a good one, and must not go far: the cosine does not see
that an output shrinks, so that a free search clips too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from converters.tflite.histogram_ranges import Range
from converters.tflite.integer_grid import SYMMETRIC_MIN, rounded
from converters.tflite.tapped_network import TappedNetwork
from converters.tflite.tflite_graph import PASSING_ON, Graph

# What a range is multiplied by, to be tried.
_FACTORS = (1.0, 0.7, 0.8, 0.9, 1.1, 1.25)


def most_similar_ranges(
    graph: Graph,
    network: TappedNetwork,
    starts: Mapping[str, Range],
    measured: Mapping[str, Range],
    images: Iterable[np.ndarray],
    symmetric: Iterable[str] = (),
) -> dict[str, Range]:
    """Searches around known ranges, for each tensor by itself.

    Args:
      graph: of float32.
      network: the same, opened.
      starts: tensor -> the range to search around.
      measured: tensor -> smallest and largest value, which no range exceeds; itself tried, too.
      images: each (height, width, 3), RGB 0..255.
      symmetric: tensors whose zero point must be 0.

    Returns:
      Ranges of `starts`, less those of tensors that nothing reads.
    """
    readers = {name: _Reader(graph, name) for name in starts if any(graph.consumers(name))}
    tried = {
        name: _around(starts[name], measured[name], name in set(symmetric)) for name in readers
    }
    totals = {name: np.zeros(len(tried[name])) for name in readers}
    for image in images:
        network.run(image)
        for name, reader in readers.items():
            totals[name] += list(reader.similarities(network, tried[name]))
    return {name: tried[name][int(total.argmax())] for name, total in totals.items()}


def reading_layers(graph: Graph, name: str) -> tuple[list, list[str]]:
    """The ops that read a tensor, and what they return.

    Ops that only pass values on are followed to those that compute, and attention's scores to their
    softmax.
    """
    found, outputs = [], []

    def follow(tensor):
        for operator in graph.consumers(tensor):
            if operator in found:
                continue
            found.append(operator)
            (output, *_) = graph.outputs_of(operator)
            if graph.kind(operator) in PASSING_ON and any(graph.consumers(output)):
                follow(output)
                continue
            scores = _to_softmax(graph, output)
            found.extend(scores)
            outputs.append(graph.outputs_of(scores[-1])[0] if scores else output)

    follow(name)
    return sorted(found, key=graph.operators.index), list(dict.fromkeys(outputs))


def _to_softmax(graph: Graph, name: str) -> list:
    """The ops from a tensor to the softmax of it, a bias added or not; none for other tensors."""
    found = []
    while len(readers := list(graph.consumers(name))) == 1:
        found.append(readers[0])
        if graph.kind(readers[0]) == "SOFTMAX":
            return found
        if graph.kind(readers[0]) != "ADD":
            break
        (name,) = graph.outputs_of(readers[0])
    return []


def _around(start: Range, measured: Range, symmetric: bool) -> list[Range]:
    """The ranges to try, the start first, which is taken where none is better."""
    low, high = measured
    if symmetric:
        highest = max(high, low / SYMMETRIC_MIN)
        highs = [min(start[1] * factor, highest) for factor in _FACTORS]
        tried = [(float(end * SYMMETRIC_MIN), float(end)) for end in (*highs, highest)]
    else:
        clipped = [(max(start[0] * f, low), min(start[1] * f, high)) for f in _FACTORS]
        tried = [*clipped, (min(low, 0.0), max(high, 0.0))]
    return list(dict.fromkeys(tried))


class _Reader:
    """The layers that read a tensor, as a network of their own."""

    def __init__(self, graph: Graph, name: str):
        from ai_edge_litert.interpreter import Interpreter

        operators, outputs = reading_layers(graph, name)
        weights = {graph.outputs_of(op)[0] for op in operators if graph.kind(op) == "SOFTMAX"}
        content, inputs = graph.part(operators, outputs)
        self._name = name
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        places = (d["index"] for d in self._interpreter.get_input_details())
        self._inputs = dict(zip(inputs, places, strict=True))
        places = (d["index"] for d in self._interpreter.get_output_details())
        self._outputs = [
            (place, output, output in weights)
            for place, output in zip(places, outputs, strict=True)
        ]

    def similarities(self, network: TappedNetwork, tried: Sequence[Range]) -> Iterator[float]:
        """For each range: how similar the outputs are to those in the float network, at most 1."""
        for name, place in self._inputs.items():
            self._interpreter.set_tensor(place, network[name])
        expected = [network[output] for _, output, _ in self._outputs]
        ranks = [
            _ranks(value) if is_attention else None
            for value, (*_, is_attention) in zip(expected, self._outputs, strict=True)
        ]
        values = network[self._name]
        for low, high in tried:
            place = self._inputs[self._name]
            self._interpreter.set_tensor(place, rounded(values, low, high))
            self._interpreter.invoke()
            found = [self._interpreter.get_tensor(place) for place, *_ in self._outputs]
            yield np.mean(
                [
                    cosine(y, x) if order is None else (cosine(y, x) + cosine(_ranks(y), order)) / 2
                    for y, x, order in zip(found, expected, ranks, strict=True)
                ]
            )


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Of the angle between two arrays; 1 for two of zeros."""
    norms = np.sqrt(_product(x, x) * _product(y, y))
    return float(_product(x, y) / norms) if norms else float(not (x.any() or y.any()))


def _product(x: np.ndarray, y: np.ndarray) -> float:
    # Not np.dot, whose threads wait for each other at these sizes.
    return float(np.einsum("i,i->", x.ravel(), y.ravel()))


def _ranks(x: np.ndarray) -> np.ndarray:
    """The place of each value in its row, 0 in the middle: the cosine of such is Spearman's rho."""
    places = np.argsort(np.argsort(x, axis=-1, kind="stable"), axis=-1)
    return places.astype(np.float32) - (x.shape[-1] - 1) / 2
