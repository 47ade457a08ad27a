"""Reads the ops of a TFLite file, and which of them the XNNPACK delegate runs."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from converters.layer_names import block_in
from converters.tflite.tflite_graph import Graph
from levit_common.regular_files import ModelFileError
from levit_lite.prediction.tflite_network import open_tflite

_DELEGATE = "DELEGATE"
_CALLING = ("IF", "WHILE")  # ops that call other graphs


@dataclasses.dataclass(frozen=True)
class Op:
    """One op of the file.

    Attributes:
      kind: name of the op in TFLite, such as "CONV_2D".
      types: data types of its outputs, such as ("float32",).
      block: part of the network that it belongs to, recognised by names of tensors, see
        `converters.layer_names.block_in`. An op without such names belongs to the part of the op
        before it; None if there is none.
      partition: number of the XNNPACK partition that runs it; None for TFLite's own kernels.
    """

    kind: str
    types: tuple[str, ...]
    block: str | None
    partition: int | None


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of the file."""

    name: str
    shape: tuple[int, ...]
    type: str


@dataclasses.dataclass(frozen=True)
class Branch:
    """A graph of the file other than the main one, such as a branch of an IF.

    Attributes:
      name: name of the graph.
      ops: number of its ops.
      taken: number of its ops that XNNPACK runs.
      partitions: number of XNNPACK partitions.
    """

    name: str
    ops: int
    taken: int
    partitions: int


@dataclasses.dataclass(frozen=True)
class TFLiteFile:
    """The content of a TFLite file.

    Attributes:
      path: path of the file.
      bytes: size of the file.
      ops: ops of the main graph, in execution order.
      partitions: number of XNNPACK partitions; 1 if XNNPACK runs the whole network.
      weights: block (None for no block) -> type -> bytes of constants, in the order of the network.
      inputs: inputs of the main graph.
      outputs: outputs of the main graph.
      branches: the other graphs; all other attributes are about the main graph.
    """

    path: str
    bytes: int
    ops: list[Op]
    partitions: int
    weights: dict[str | None, dict[str, int]]
    inputs: list[Tensor]
    outputs: list[Tensor]
    branches: list[Branch] = dataclasses.field(default_factory=list)


def read_tflite(path: str | os.PathLike) -> TFLiteFile:
    """Reads a file as LiteRT runs it, with delegates applied.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is not a `.tflite` file, or damaged.
      ImportError: LiteRT is not installed.
    """
    path = Path(path)
    interpreter = _interpreter(path)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    listed = interpreter._get_ops_details()
    details = [op for op in listed if op["op_name"] != _DELEGATE]
    delegates = [op for op in listed if op["op_name"] == _DELEGATE]

    producer = {int(tensor): n for n, op in enumerate(details) for tensor in op["outputs"]}
    given = {tensor["index"] for tensor in interpreter.get_input_details()}
    partition_of = {
        op: number
        for number, delegate in enumerate(delegates)
        for op in _members(delegate, details, producer)
    }
    ops: list[Op] = []
    weights: dict[str | None, dict[str, int]] = {}
    seen: set[int] = set()
    block = None
    for n, op in enumerate(details):
        constants = [
            int(tensor)
            for tensor in op["inputs"]
            if tensor >= 0 and int(tensor) not in producer and int(tensor) not in given
        ]
        names = [tensors[int(index)]["name"] for index in (*op["outputs"], *constants)]
        # A name may list all ops that were fused; the one that computes the tensor comes first.
        found = (block_in(name.split(";")[0]) for name in names)
        block = next(filter(None, found), block)
        types = tuple(_type(tensors[int(index)]) for index in op["outputs"])
        ops.append(Op(op["op_name"], types, block, partition_of.get(n)))
        for index in constants:
            if index not in seen:  # a shared constant is counted at its first use
                seen.add(index)
                of_block = weights.setdefault(block, {})
                kind = _type(tensors[index])
                of_block[kind] = of_block.get(kind, 0) + _bytes(tensors[index])
    last = {op.block: n for n, op in enumerate(ops)}
    return TFLiteFile(
        path=str(path),
        bytes=path.stat().st_size,
        ops=ops,
        partitions=len(delegates),
        # Weights that are first converted are not in the order of the network.
        weights=dict(sorted(weights.items(), key=lambda item: last[item[0]])),
        inputs=[_tensor(tensor) for tensor in interpreter.get_input_details()],
        outputs=[_tensor(tensor) for tensor in interpreter.get_output_details()],
        branches=[_branch(*other) for other in Graph(path.read_bytes()).other_graphs()],
    )


def _branch(name: str, graph: Graph) -> Branch:
    """Counts the ops of a branch, up to the next IF, by opening it as a separate file."""
    from ai_edge_litert.interpreter import Interpreter

    ops = [op for op in graph.operators if graph.kind(op) not in _CALLING]
    made = {name for op in ops for name in graph.outputs_of(op)}
    read = {name for op in graph.operators if op not in ops for name in graph.inputs_of(op)}
    ends = [name for name in dict.fromkeys([*graph.outputs(), *sorted(read)]) if name in made]
    if not ends:
        return Branch(name, len(graph.operators), 0, 0)
    content, _ = graph.part(ops, ends)
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    listed = interpreter._get_ops_details()
    details = [op for op in listed if op["op_name"] != _DELEGATE]
    delegates = [op for op in listed if op["op_name"] == _DELEGATE]
    producer = {int(tensor): n for n, op in enumerate(details) for tensor in op["outputs"]}
    taken = {op for delegate in delegates for op in _members(delegate, details, producer)}
    return Branch(name, len(graph.operators), len(taken), len(delegates))


def _interpreter(path: Path):
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Expected a .tflite file.")
    if not path.is_file() or path.suffix.lower() != ".tflite":
        raise ModelFileError(f"{path}: expected a .tflite file.")
    return open_tflite(path, threads=1)


def _members(delegate: dict, ops: list[dict], producer: dict[int, int]) -> set[int]:
    """Returns the ops that a delegate replaced: those between its inputs and its outputs."""
    inputs = {int(tensor) for tensor in delegate["inputs"]}
    found = set()
    waiting = [int(tensor) for tensor in delegate["outputs"]]
    while waiting:
        op = producer.get(waiting.pop())
        if op is not None and op not in found:
            found.add(op)
            waiting += [int(t) for t in ops[op]["inputs"] if t >= 0 and int(t) not in inputs]
    return found


def _type(details: dict) -> str:
    return np.dtype(details["dtype"]).name


def _bytes(details: dict) -> int:
    return int(np.prod(details["shape"])) * np.dtype(details["dtype"]).itemsize


def _tensor(details: dict) -> Tensor:
    return Tensor(details["name"], tuple(int(side) for side in details["shape"]), _type(details))
