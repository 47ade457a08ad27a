"""Checks `.onnx` files: no references to other files, and no tensors larger than their data."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Container, Iterable
from typing import Any

from levit_common.regular_files import MAX_PROTOBUF_BYTES, ModelFileError, check_regular

# ONNX's own domains, and that of ONNX Runtime for quantised networks.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_OTHER_FILES = ("EPContext",)  # ONNX Runtime's operations that load another file
_MAX_DEPTH = 32  # of nested graphs
_MAX_COMPUTED_BYTES = 8 << 30


def check_onnx_file(path: str | os.PathLike) -> None:
    """Checks an ONNX file before ONNX Runtime reads it.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is damaged, refers to another file, has operations of another domain, or
        declares a tensor that is larger than its data.
      ImportError: onnx is not installed.
    """
    path = os.fspath(path)
    check_regular(path, MAX_PROTOBUF_BYTES)
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f'{path}: an .onnx file needs onnx: pip install "levit_tf[onnx]"'
        ) from error
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        with open(path, "rb") as file:
            model.ParseFromString(file.read())
    except DecodeError as error:
        raise ModelFileError(
            f"{path}: cannot be loaded as an ONNX file; truncated, or another kind of file?"
        ) from error
    domains = {*_DOMAINS, *(function.domain for function in model.functions)}
    try:
        _check_graph(model.graph, domains)
        for function in model.functions:
            _check_nodes(function.node, domains)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None


@functools.cache
def session_options(threads: int | None = None) -> Any:
    """Returns options for ONNX Runtime: at most half of the memory, and no log output.

    The limit is needed because a graph of a few bytes can compute tensors that fill the memory.

    Args:
      threads: number of threads of a session; None for ONNX Runtime's own choice.

    Returns:
      An `onnxruntime.SessionOptions`.
    """
    import onnxruntime

    _register_allocator()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    return options


@functools.cache
def _register_allocator() -> None:
    """Limits the memory of all sessions of this process."""
    import onnxruntime

    limit = _MAX_COMPUTED_BYTES
    if hasattr(os, "sysconf"):
        limit = min(limit, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    configuration = onnxruntime.OrtArenaCfg(limit, -1, -1, -1)
    onnxruntime.create_and_register_allocator(memory, configuration)


def _check_graph(graph: Any, domains: Container[str], depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ModelFileError("graphs within graphs, too many of them.")
    if graph.sparse_initializer:
        raise ModelFileError("has sparse tensors; expected dense ones.")
    for tensor in graph.initializer:
        _check_tensor(tensor)
    _check_nodes(graph.node, domains, depth)


def _check_nodes(nodes: Iterable[Any], domains: Container[str], depth: int = 0) -> None:
    for node in nodes:
        if node.op_type in _OTHER_FILES:
            raise ModelFileError(f"has the operation {node.op_type}, which loads another file.")
        if node.domain not in domains:
            raise ModelFileError(
                f"has the operation {node.op_type} of {node.domain!r}. Known domains: "
                f"{', '.join(map(repr, _DOMAINS))}."
            )
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise ModelFileError("has sparse tensors; expected dense ones.")
            if attribute.HasField("t"):
                _check_tensor(attribute.t)
            for tensor in attribute.tensors:
                _check_tensor(tensor)
            if attribute.HasField("g"):
                _check_graph(attribute.g, domains, depth + 1)
            for graph in attribute.graphs:
                _check_graph(graph, domains, depth + 1)


def _check_tensor(tensor: Any) -> None:
    from onnx import TensorProto

    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ModelFileError(
            f"the tensor {tensor.name!r} is in another file, which is not read. Save the model "
            "with its weights in it."
        )
    values = math.prod(max(0, length) for length in tensor.dims)
    # Every field type stores at least half a byte per value.
    if values > 2 * tensor.ByteSize() or min(tensor.dims, default=0) < 0:
        raise ModelFileError(
            f"the tensor {tensor.name!r} has the shape {list(tensor.dims)} and "
            f"{tensor.ByteSize():,} bytes."
        )
