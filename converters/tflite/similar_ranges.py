"""Chooses ranges of activations by the similarity of the following layers' outputs to float.

After Liu et al., "Post-Training Quantization for Vision Transformer", arXiv 2106.14156: of several
ranges of a tensor, the one is chosen with which the output of the reading layers is most similar to
that of the float network. If the reader is an attention, the order of its weights counts as much as
their values. As in the paper, the search is around an initial range. This range must be good, and
the search must stay near it: the cosine does not notice that an output shrinks, so an unlimited
search would clip too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from converters.tflite.histogram_ranges import Range
from converters.tflite.integer_grid import SYMMETRIC_MIN, rounded
from converters.tflite.tapped_network import TappedNetwork
from converters.tflite.tflite_graph import PASSING_ON, Graph

# Factors of the initial range to try.
_FACTORS = (1.0, 0.7, 0.8, 0.9, 1.1, 1.25)


def most_similar_ranges(
    graph: Graph,
    network: TappedNetwork,
    starts: Mapping[str, Range],
    measured: Mapping[str, Range],
    images: Iterable[np.ndarray],
    symmetric: Iterable[str] = (),
) -> dict[str, Range]:
    """Searches around known ranges, for each tensor separately.

    Args:
      graph: a float32 graph.
      network: the same graph, opened for running.
      starts: tensor -> range to search around.
      measured: tensor -> smallest and largest value; no range exceeds them, and they are also tried
        as a range.
      images: pictures (height, width, 3), RGB 0..255.
      symmetric: tensors whose zero point must be 0.

    Returns:
      Ranges of the tensors in `starts`, except tensors that nothing reads.
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
    """Returns the ops that read a tensor, and the names of their outputs.

    Ops that only pass on values are followed to ops that compute, and attention's scores to their
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
    """Returns the ops from a tensor to its softmax, with or without a bias; [] if there is none."""
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
    """Returns the ranges to try; the first is the start, which is kept if no other is better."""
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
    """The layers that read a tensor, as a separate network."""

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
        """Yields, for each range, the similarity of outputs to the float network's, at most 1."""
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
    """Returns the cosine of the angle between two arrays (1.0 if both are all zeros)."""
    norms = np.sqrt(_product(x, x) * _product(y, y))
    return float(_product(x, y) / norms) if norms else float(not (x.any() or y.any()))


def _product(x: np.ndarray, y: np.ndarray) -> float:
    # Not np.dot, because at these sizes its threads only wait for each other.
    return float(np.einsum("i,i->", x.ravel(), y.ravel()))


def _ranks(x: np.ndarray) -> np.ndarray:
    """Returns centred ranks of the values in each row; their cosine is Spearman's rho."""
    places = np.argsort(np.argsort(x, axis=-1, kind="stable"), axis=-1)
    return places.astype(np.float32) - (x.shape[-1] - 1) / 2
