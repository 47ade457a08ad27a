"""Checks SavedModels. They are programs, so they are first read as data and refused if unsafe."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from levit_common.regular_files import (
    MAX_PROTOBUF_BYTES,
    ModelFileError,
    check_regular,
    check_regular_tree,
)
from levit_common.shipped_names import GRAPH_FILE
from levit_common.spelling import shortened
from levit_lite.opening.archives import allowed_bytes
from levit_tf.opening.operations import READING, WRITING, is_registered, refusal

# Other file formats of the graph, which TensorFlow would read as well.
OTHER_FORMS = ("saved_model.cpb", "saved_model.pbtxt")


def check_saved_model(path: str | os.PathLike, trust: bool = False, flag: str = "--trust") -> None:
    """Checks a SavedModel before TensorFlow loads it.

    Every node of all graphs and functions in the file is checked, even if nothing calls it.

    Args:
      path: the folder.
      trust: whether all operations are allowed. Files and sizes are still checked.
      flag: the command-line flag that sets `trust`, for error messages.

    Raises:
      FileNotFoundError: the folder contains no graph.
      ModelFileError: an operation could read or write files or run code; or something in the folder
        is not a regular file; or the graph is damaged, or has constants larger than itself.
      ImportError: TensorFlow is not installed.
    """
    folder = Path(path)
    check_regular_tree(folder)
    others = [name for name in OTHER_FORMS if (folder / name).exists()]
    if others and not trust:
        raise ModelFileError(f"{path}: has {others[0]}, which is not read. Expected {GRAPH_FILE}.")
    size = check_regular(folder / GRAPH_FILE, MAX_PROTOBUF_BYTES)
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    try:
        saved.ParseFromString((folder / GRAPH_FILE).read_bytes())
    except DecodeError as error:
        raise ModelFileError(
            f"{path}: cannot be loaded as a SavedModel; incomplete or damaged? ({GRAPH_FILE} "
            "cannot be parsed)"
        ) from error
    graphs = [_Graph(meta_graph) for meta_graph in saved.meta_graphs]
    constants = sum(graph.constant_bytes() for graph in graphs)
    if constants > allowed_bytes(size):
        raise ModelFileError(
            f"{path}: declares {constants:,} bytes of constants in a {GRAPH_FILE} of {size:,}; at "
            f"most {allowed_bytes(size):,} are allowed."
        )
    if trust:
        return
    refused = list(dict.fromkeys(found for graph in graphs for found in graph.refused()))
    if refused:
        raise ModelFileError(
            f"{path}: not loaded, since its operations could read or write files or run code: "
            f"{shortened(refused, separator='; ')}. {flag} loads it, as you may where you know who "
            "made it."
        )


class _Graph:
    """A graph with its functions, and the dependencies between its nodes."""

    def __init__(self, meta_graph: Any):
        self._meta = meta_graph
        self._nodes = {node.name: node for node in meta_graph.graph_def.node}
        self._bodies = {}
        for function in meta_graph.graph_def.library.function:
            self._bodies.setdefault(function.signature.name, []).extend(function.node_def)
        self._gradients = {
            gradient.function_name: gradient.gradient_func
            for gradient in meta_graph.graph_def.library.gradient
        }
        # TensorFlow's optimiser may replace a function by one that claims the same interface.
        same = {}
        for function in meta_graph.graph_def.library.function:
            if "api_implements" in function.attr:
                implemented = function.attr["api_implements"].s
                same.setdefault(implemented, set()).add(function.signature.name)
        self._twins = {name: group for group in same.values() for name in group}

    def _parts(self) -> Iterable[tuple[str, Any]]:
        """Yields (name of graph or function, node) for all nodes."""
        yield from (("the graph", node) for node in self._meta.graph_def.node)
        for name, body in self._bodies.items():
            yield from ((f"function {name}", node) for node in body)

    def constant_bytes(self) -> int:
        """Returns the size of all constants in memory; one stored value may fill a whole tensor."""
        from tensorflow.python.framework import dtypes

        total = 0
        for _, node in self._parts():
            for value in node.attr.values():
                if not value.HasField("tensor"):
                    continue
                dims = [max(0, dim.size) for dim in value.tensor.tensor_shape.dim]
                try:
                    each = dtypes.as_dtype(value.tensor.dtype).size
                except (TypeError, ValueError):
                    each = 1
                total += math.prod(dims) * (each or 1)
        return total

    def refused(self) -> Iterable[str]:
        """Yields descriptions of the refused operations and their places."""
        for where, node in self._parts():
            if node.op in self._bodies and not is_registered(node.op):
                continue
            reason = refusal(node.op, node.attr)
            if reason:
                yield f"{reason} (in {where})"
        yield from self._saver_outside()

    def _saver_outside(self) -> Iterable[str]:
        """Yields save and restore operations that something other than the saver could run.

        A node counts as such if the saver's own outputs do not depend on it, or if a signature or
        an initialiser depends on it.
        """
        saver = self._meta.saver_def
        saving = self._before([saver.save_tensor_name])
        restoring = saving | self._before([saver.restore_op_name])
        named = [name for info in self._signature_tensors() for name in _names_in(info)]
        for collection in self._meta.collection_def.values():  # old files name initialisers here
            named += collection.node_list.value
        loaded = {
            name for name in self._meta.object_graph_def.concrete_functions if name in self._bodies
        }
        for operations, own in ((WRITING, saving), (READING, restoring)):
            others = [name for name in self._nodes if name not in own]
            others += named + ([saver.restore_op_name] if operations is WRITING else [])
            nodes = self._before(others)
            functions = self._called(
                loaded | {f for name in nodes for f in self._functions_of(self._nodes[name])}
            )
            for name in nodes:
                if self._nodes[name].op in operations:
                    yield f"{self._nodes[name].op} (in the graph, outside of the saver)"
            for name in functions:
                for node in self._bodies[name]:
                    if node.op in operations:
                        yield f"{node.op} (in function {name}, outside of the saver)"

    def _signature_tensors(self) -> Iterable[Any]:
        for signature in self._meta.signature_def.values():
            yield from signature.inputs.values()
            yield from signature.outputs.values()

    def _before(self, names: Iterable[str]) -> set[str]:
        """Returns the nodes that these nodes depend on, including themselves."""
        found, waiting = set(), [_node_of(name) for name in names]
        while waiting:
            name = waiting.pop()
            if name in self._nodes and name not in found:
                found.add(name)
                waiting += map(_node_of, self._nodes[name].input)
        return found

    def _called(self, names: Iterable[str]) -> set[str]:
        """Returns the functions that these functions call, including themselves."""
        found, waiting = set(), list(names)
        while waiting:
            name = waiting.pop()
            if name not in self._bodies or name in found:
                continue
            found.add(name)
            waiting += self._twins.get(name, ())
            waiting.append(self._gradients.get(name, ""))
            for node in self._bodies[name]:
                waiting += self._functions_of(node)
        return found

    def _functions_of(self, node: Any) -> list[str]:
        names = [node.op] if node.op in self._bodies else []
        return names + _functions_in(node.attr)


def _names_in(info: Any) -> list[str]:
    """Returns the names of the tensors that form one input or output of a signature."""
    sparse = info.coo_sparse
    parts = [name for part in info.composite_tensor.components for name in _names_in(part)]
    return [
        info.name,
        sparse.values_tensor_name,
        sparse.indices_tensor_name,
        sparse.dense_shape_tensor_name,
        *parts,
    ]


def _node_of(tensor: str) -> str:
    """Returns the node of a tensor name: "^a/b" or "a/b:1" -> "a/b"."""
    return tensor.removeprefix("^").partition(":")[0]


def _functions_in(attributes: Mapping[str, Any]) -> list[str]:
    """Returns the names of functions in the attributes of a node."""
    found = []
    for value in attributes.values():
        for function in (value.func, *value.list.func):
            if function.name:
                found += [function.name, *_functions_in(function.attr)]
    return found
