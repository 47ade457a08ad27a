"""Writes a classifier in steps as TFLite: the graph of all steps is split and joined by IF.

All graphs in a file share their constants: a second signature only adds its operations.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from converters.dynamic.graph import answer_name
from converters.dynamic.parts import Part, cut, needed_later
from converters.tflite.tflite_graph import Graph
from levit_common.shipped_names import (
    EXIT,
    INPUT,
    LOGITS,
    PROBABILITIES,
    SHARPNESS,
    SIGNATURE,
    THRESHOLDS,
    THRESHOLDS_SIGNATURE,
    state_name,
    step_signature,
)

_ANSWER = (LOGITS, PROBABILITIES, EXIT)  # outputs of every branch, in this order


def with_branches(graph: Graph, sharpness: Sequence[float], thresholds: Sequence[float]) -> Graph:
    """Builds a file whose main graph runs the steps until one is confident enough.

    Args:
      graph: graph of all steps, made from `converters.dynamic.graph.dynamic_graph` for one picture.
        It is changed and must not be used afterwards.
      sharpness: 1 / temperature of each step except the last.
      thresholds: confidence from which on pictures leave at each of these steps.

    Returns:
      A file with the signatures `SIGNATURE` and `THRESHOLDS_SIGNATURE`, see
      `levit_common.shipped_names`.
    """
    parts = _cut(graph)
    writer = _Writer(graph, np.float32(sharpness))
    rest = writer.branch(parts, 1)
    (image,) = graph.inputs()
    for signature, given in ((SIGNATURE, np.float32(thresholds)), (THRESHOLDS_SIGNATURE, None)):
        main = _Subgraph(graph, signature)
        taken = [main.tensor(image)]
        if given is None:
            taken.append(main.activation(THRESHOLDS, [len(thresholds)]))
        else:
            main.constant(THRESHOLDS, given)
        found = writer.step(main, parts, 0, rest)
        outputs = dict(zip(_ANSWER, found, strict=True))
        if given is not None:
            del outputs[LOGITS]
        writer.add(main, taken, list(outputs.values()))
        names = (INPUT, THRESHOLDS)[: len(taken)]
        writer.sign(signature, dict(zip(names, taken, strict=True)), outputs)
    return writer.file()


def with_steps(graph: Graph, sharpness: Sequence[float]) -> Graph:
    """Builds a file with one signature per step, `step_signature(0)` and so on.

    Args:
      graph: see `with_branches`.
      sharpness: see `with_branches`; it calibrates the probabilities of a step.
    """
    parts = _cut(graph)
    writer = _Writer(graph, np.float32(sharpness))
    (image,) = graph.inputs()
    names = {image: INPUT}
    for step, part in enumerate(parts):
        subgraph = _Subgraph(graph, step_signature(step))
        inputs = {names[name]: subgraph.tensor(name) for name in part.state}
        subgraph.extend(part.operations)
        outputs = {LOGITS: subgraph.tensor(part.answer)}
        is_last = step + 1 == len(parts)
        outputs[PROBABILITIES] = writer.probabilities(subgraph, outputs[LOGITS], step, is_last)
        for name in needed_later(parts, step + 1):
            if name in part.made:
                names.setdefault(name, state_name(len(names) - 1))
                outputs[names[name]] = subgraph.tensor(name)
        writer.add(subgraph, list(inputs.values()), list(outputs.values()))
        writer.sign(step_signature(step), inputs, outputs)
    return writer.file()


def _cut(graph: Graph) -> list[Part]:
    names = dict(zip(graph.signature_outputs(), graph.outputs(), strict=True))
    return cut(
        graph.operators,
        graph.inputs_of,
        graph.outputs_of,
        [names[answer_name(step)] for step in range(len(names))],
        {name for name in graph.tensors if graph.is_constant(name)},
    )


class _Subgraph:
    """A graph that is built from parts of another one."""

    def __init__(self, source: Graph, name: str):
        self._source = source
        self._places: dict[str, int] = {}
        self.name = name
        self.tensors: list = []
        self.operators: list = []

    def tensor(self, name: str) -> int:
        """Returns the index of a tensor of the source or of this graph, by its name."""
        if name not in self._places:
            self._append(name, copy.copy(self._source.tensors[name]))
        return self._places[name]

    def activation(self, name: str, shape: Sequence[int], dtype: str = "float32") -> int:
        return self._append(name, self._source.new_tensor(name, shape, dtype))

    def constant(self, name: str, value: np.ndarray) -> int:
        """Returns the index of a constant, which is added only once."""
        if name in self._places:
            return self._places[name]
        return self._append(name, self._source.new_constant(name, value))

    def alias(self, name: str, tensor) -> int:
        """Adds a tensor of another graph under a name; returns its index."""
        return self._append(name, copy.copy(tensor))

    def extend(self, operators: Sequence) -> None:
        """Adds operations of the source graph."""
        for operator in operators:
            added = copy.copy(operator)
            added.inputs = [self._moved(index) for index in operator.inputs]
            added.outputs = [self._moved(index) for index in operator.outputs]
            self.operators.append(added)

    def op(self, kind: str, inputs: list[int], outputs: list[int], **options) -> None:
        self.operators.append(self._source.operator(kind, inputs, outputs, **options))

    def _moved(self, index: int) -> int:
        return index if index < 0 else self.tensor(self._source.name_of(index))

    def _append(self, name: str, tensor) -> int:
        self._places[name] = len(self.tensors)
        self.tensors.append(tensor)
        return self._places[name]


class _Writer:
    """Builds the graphs of one file."""

    def __init__(self, source: Graph, sharpness: np.ndarray):
        self._source = source
        self._sharpness = sharpness
        self._graphs: list = []
        self._signatures: list = []

    def probabilities(self, graph: _Subgraph, logits: int, step: int, is_last: bool) -> int:
        """Adds the softmax of logits at the step's temperature; returns its index."""
        shape = graph.tensors[logits].shape
        if not is_last:
            sharpness = graph.constant(SHARPNESS, self._sharpness)
            factor = self._element(graph, sharpness, f"{SHARPNESS}_{step}", step)
            scaled = graph.activation(f"scaled_{step}", shape)
            graph.op("MUL", [logits, factor], [scaled])
            logits = scaled
        found = graph.activation(f"{PROBABILITIES}_{step}", shape)
        graph.op("SOFTMAX", [logits], [found], beta=1.0)
        return found

    def step(self, graph: _Subgraph, parts: Sequence[Part], step: int, rest: int) -> list[int]:
        """Adds a step and the decision after it; returns the indices of `_ANSWER`.

        Args:
          graph: graph that contains the tensors that the step reads, and `THRESHOLDS`.
          parts: parts of all steps.
          step: number of the step.
          rest: number of the graph with all later steps.
        """
        part, is_last = parts[step], step + 1 == len(parts)
        graph.extend(part.operations)
        logits = graph.tensor(part.answer)
        probabilities = self.probabilities(graph, logits, step, is_last)
        if is_last:
            return [logits, probabilities, graph.constant(EXIT, np.int32([step]))]
        sure = graph.activation(f"confidence_{step}", [1])
        axis = graph.constant("axis", np.int32([1]))
        graph.op("REDUCE_MAX", [probabilities, axis], [sure], keepDims=False)
        threshold = self._element(graph, graph.tensor(THRESHOLDS), f"{THRESHOLDS}_{step}", step)
        is_sure = graph.activation(f"is_sure_{step}", [1], "bool")
        graph.op("GREATER_EQUAL", [sure, threshold], [is_sure])
        handed = [logits, probabilities, graph.tensor(THRESHOLDS)]
        handed += [graph.tensor(name) for name in needed_later(parts, step + 1)]
        leave = self._leaving(graph, handed, step)
        shapes = (graph.tensors[logits].shape, graph.tensors[probabilities].shape, [1])
        found = [
            graph.activation(f"{name}_from_{step}", shape, "int32" if name == EXIT else "float32")
            for name, shape in zip(_ANSWER, shapes, strict=True)
        ]
        options = {"thenSubgraphIndex": leave, "elseSubgraphIndex": rest}
        graph.op("IF", [is_sure, *handed], found, **options)
        return found

    def branch(self, parts: Sequence[Part], step: int) -> int:
        """Adds the graph of the steps from `step` on; returns its number."""
        rest = self.branch(parts, step + 1) if step + 1 < len(parts) else -1
        graph = _Subgraph(self._source, f"from_step_{step}")
        shape = self._source.tensors[parts[0].answer].shape
        inputs = [graph.activation(f"earlier_{name}", shape) for name in (LOGITS, PROBABILITIES)]
        inputs.append(graph.activation(THRESHOLDS, [len(parts) - 1]))
        inputs += [graph.tensor(name) for name in needed_later(parts, step)]
        return self.add(graph, inputs, self.step(graph, parts, step, rest))

    def add(self, graph: _Subgraph, inputs: list[int], outputs: list[int]) -> int:
        self._graphs.append((graph, inputs, outputs))
        return len(self._graphs) - 1

    def sign(self, name: str, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """Adds a signature for the graph that was added last."""
        self._signatures.append((name, len(self._graphs) - 1, inputs, outputs))

    def file(self) -> Graph:
        """Returns the file; the graph of the first signature comes first, as readers expect."""
        first = self._signatures[0][1]
        order = [first, *(n for n in range(len(self._graphs)) if n != first)]
        place = {old: new for new, old in enumerate(order)}
        for graph, *_ in self._graphs:
            for operator in graph.operators:
                options = operator.builtinOptions
                if hasattr(options, "thenSubgraphIndex"):
                    options.thenSubgraphIndex = place[options.thenSubgraphIndex]
                    options.elseSubgraphIndex = place[options.elseSubgraphIndex]
        graphs = [self._graphs[old] for old in order]
        signatures = [(name, place[n], ins, outs) for name, n, ins, outs in self._signatures]
        return self._source.of_subgraphs(
            [(g.name, g.tensors, g.operators, ins, outs) for g, ins, outs in graphs], signatures
        )

    def _element(self, graph: _Subgraph, vector: int, name: str, number: int) -> int:
        """Adds the selection of one value of a vector, of shape (1,); returns its index."""
        found = graph.activation(name, [1])
        index = graph.constant(f"index_{number}", np.int32([number]))
        graph.op("GATHER", [vector, index], [found], axis=0, batchDims=0)
        # As the first op, because between others it would split XNNPACK's partition.
        graph.operators.insert(0, graph.operators.pop())
        return found

    def _leaving(self, graph: _Subgraph, handed: Sequence[int], step: int) -> int:
        """Adds the graph that returns the outputs of this step; returns the graph's number."""
        leaving = _Subgraph(self._source, f"leave_at_{step}")
        inputs = [
            leaving.alias(f"taken_{n}", graph.tensors[index]) for n, index in enumerate(handed)
        ]
        for index in inputs:
            leaving.tensors[index].buffer = 0
        number = leaving.constant(EXIT, np.int32([step]))
        return self.add(leaving, inputs, [inputs[0], inputs[1], number])
