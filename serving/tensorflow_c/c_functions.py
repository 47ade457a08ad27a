"""Adds one batched operation per signature to the graph of a loaded SavedModel.

It is TensorFlow's BatchFunction, which gathers the inputs of concurrent runs of the session,
computes them as one batch, and returns to each run its share. Its body is the part of the graph
between a signature's inputs and outputs; variables and tables stay outside and are passed to it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.attr_value_pb2 import AttrValue

from serving.status_codes import Code
from serving.tensorflow_c.c_api import SavedModelSession
from serving.tensorflow_c.c_library import Output, TensorFlowError, checked_status, library


def add_batch_function(
    session: SavedModelSession,
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, int | str | bool | Sequence[int]],
) -> list[str]:
    """Adds a BatchFunction around the part of the graph from `inputs` to `outputs`.

    Args:
      session: the loaded SavedModel; nothing else may change its graph in the meantime.
      name: name of the new operation and of the function.
      inputs: names of the input tensors; all have a batch dimension.
      outputs: names of the tensors to compute; all have a batch dimension.
      attributes: attributes of BatchFunction, such as max_batch_size.

    Returns:
      The names of the batched tensors, in the order of `outputs`.

    Raises:
      TensorFlowError: TensorFlow refuses an attribute; or `outputs` depend on further inputs.
    """
    lib = library()
    fed = [session.output(tensor) for tensor in inputs]
    fetched = [session.output(tensor) for tensor in outputs]
    body, captured = _body(session, inputs, outputs)
    arguments = [*fed, *captured]
    operations = [lib.TF_GraphOperationByName(session.graph, n.encode()) for n in body]
    function_name = f"{name}_body"
    with checked_status() as status:
        function = lib.TF_GraphToFunction(
            session.graph,
            function_name.encode(),
            0,
            len(operations),
            (ctypes.c_void_p * len(operations))(*operations),
            len(arguments),
            (Output * len(arguments))(*arguments),
            len(fetched),
            (Output * len(fetched))(*fetched),
            None,
            None,
            None,
            status,
        )
    try:
        with checked_status() as status:
            lib.TF_GraphCopyFunction(session.graph, function, None, status)
    finally:
        lib.TF_DeleteFunction(function)
    operation = lib.TF_NewOperation(session.graph, b"BatchFunction", name.encode())
    for tensors in (fed, captured):
        lib.TF_AddInputList(operation, (Output * len(tensors))(*tensors), len(tensors))
    values = {key: _attribute(value) for key, value in attributes.items()}
    values["f"] = AttrValue()
    values["f"].func.name = function_name
    for key, tensors in (("Tin", fed), ("Tcaptured", captured), ("Tout", fetched)):
        types = [lib.TF_OperationOutputType(tensor) for tensor in tensors]
        values[key] = AttrValue(list=AttrValue.ListValue(type=types))
    with checked_status() as status:
        for key, value in values.items():
            data = value.SerializeToString()
            lib.TF_SetAttrValueProto(operation, key.encode(), data, len(data), status)
        lib.TF_FinishOperation(operation, status)
    return [f"{name}:{n}" for n in range(len(fetched))]


def _body(session, inputs, outputs) -> tuple[list[str], list[Output]]:
    """Returns the operations between `inputs` and `outputs`, and the resources that they use."""
    lib = library()
    nodes = {node.name: node for node in session.meta_graph.graph_def.node}
    ends = {_operation(tensor) for tensor in inputs}
    body: dict[str, None] = {}
    captured: dict[str, Output] = {}
    waiting = [_operation(tensor) for tensor in outputs]
    while waiting:
        name = waiting.pop()
        if name in ends or name in body or name in captured:
            continue
        node = nodes[name]
        if node.op == "Placeholder":
            raise TensorFlowError(Code.INVALID_ARGUMENT, f"{name} would have to be fed, too.")
        if not node.input:
            output = session.output(f"{name}:0")
            if lib.TF_OperationOutputType(output) == types_pb2.DT_RESOURCE:
                captured[name] = output
                continue
        body[name] = None
        waiting.extend(_operation(tensor) for tensor in node.input)
    return list(body), list(captured.values())


def _operation(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _attribute(value: int | str | bool | Sequence[int]) -> AttrValue:
    if isinstance(value, bool):
        return AttrValue(b=value)
    if isinstance(value, int):
        return AttrValue(i=value)
    if isinstance(value, str):
        return AttrValue(s=value.encode())
    return AttrValue(list=AttrValue.ListValue(i=value))
