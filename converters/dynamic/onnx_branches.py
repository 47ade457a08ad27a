"""Writes a classifier in steps as ONNX: the graph of all steps is split and joined by `If`.

Branches can read earlier tensors by name, so no tensors must be passed to them. The weights of a
step lie in its own branch nevertheless: ONNX Runtime blocks the channels of a convolution
(NCHWc, on which its speed depends) only where the weights are in the same graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.dynamic.graph import answer_name
from converters.dynamic.parts import Part, cut
from levit_common.shipped_names import (
    EXIT,
    LOGITS,
    PROBABILITIES,
    SHARPNESS,
    THRESHOLDS,
)

_AXES_AS_INPUT = 18  # first opset in which the axes of ReduceMax are an input


def with_branches(model, sharpness: Sequence[float], thresholds: Sequence[float]):
    """Builds a model whose steps run one after the other until one is confident enough.

    Args:
      model: the ONNX model of `converters.dynamic.graph.dynamic_graph` for one picture. It is
        changed and must not be used afterwards.
      sharpness: 1 / temperature of each step except the last.
      thresholds: confidence from which on pictures leave at each of these steps.

    Returns:
      The model. The thresholds are an optional input.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    answers = [answer_name(step) for step in range(len(thresholds) + 1)]
    shapes = {output.name: output.type.tensor_type.shape for output in graph.output}
    classes = shapes[answers[0]].dim[1].dim_value
    parts = cut(
        list(graph.node),
        lambda node: [name for name in node.input if name],
        lambda node: [name for name in node.output if name],
        answers,
        {constant.name for constant in graph.initializer},
    )
    weights = _weights_of_steps(parts, graph.initializer)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    del graph.initializer[:]
    graph.initializer.extend(weights[0])
    for name, value in ((SHARPNESS, sharpness), (THRESHOLDS, thresholds)):
        graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    constants = {f"index_{step}": np.int64(step) for step in range(len(thresholds))}
    if opset >= _AXES_AS_INPUT:
        constants["last_axis"] = np.int64([1])
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    graph.input.append(
        helper.make_tensor_value_info(THRESHOLDS, TensorProto.FLOAT, [len(thresholds)])
    )
    types = {
        LOGITS: (TensorProto.FLOAT, [1, classes]),
        PROBABILITIES: (TensorProto.FLOAT, [1, classes]),
        EXIT: (TensorProto.INT32, [1]),
    }
    nodes, names = _nodes(parts, weights, 0, types, opset)
    last = [
        helper.make_node("Identity", [inner], [name])
        for name, inner in zip(types, names, strict=True)
    ]
    del graph.node[:], graph.output[:]
    graph.node.extend([*nodes, *last])
    graph.output.extend(_infos(types, types))
    return model


def _weights_of_steps(parts: Sequence[Part], weights) -> list[list]:
    """Returns the weights whose first reader is each step; later steps see them, too."""
    by_name = {weight.name: weight for weight in weights}
    return [
        [by_name.pop(name) for node in part.operations for name in node.input if name in by_name]
        for part in parts
    ]


def _nodes(parts: Sequence[Part], weights: Sequence[list], step: int, types: dict, opset: int):
    """Returns (nodes of the steps from `step` on, names of their outputs)."""
    from onnx import helper, numpy_helper

    part = parts[step]
    names = [f"{name}_of_{step}" for name in types]
    logits, probabilities, number = names
    exit_number = helper.make_node(
        "Constant", [], [number], value=numpy_helper.from_array(np.int32([step]))
    )
    nodes = [*part.operations, helper.make_node("Identity", [part.answer], [logits])]
    if step + 1 == len(parts):
        softmax = helper.make_node("Softmax", [logits], [probabilities], axis=1)
        return [*nodes, softmax, exit_number], names
    scaled, sure, threshold, is_sure = (
        f"{kind}_{step}" for kind in ("scaled", "confidence", "threshold", "is_sure")
    )
    factor = f"factor_{step}"
    reduction = {"inputs": [probabilities, "last_axis"], "outputs": [sure], "keepdims": 0}
    if opset < _AXES_AS_INPUT:
        reduction |= {"inputs": [probabilities], "axes": [1]}
    nodes += [
        helper.make_node("Gather", [SHARPNESS, f"index_{step}"], [factor]),
        helper.make_node("Mul", [logits, factor], [scaled]),
        helper.make_node("Softmax", [scaled], [probabilities], axis=1),
        helper.make_node("ReduceMax", **reduction),
        helper.make_node("Gather", [THRESHOLDS, f"index_{step}"], [threshold]),
        helper.make_node("GreaterOrEqual", [sure, threshold], [is_sure]),
        exit_number,
    ]
    leaving = [f"{name}_leaving_{step}" for name in types]
    leave = helper.make_graph(
        [helper.make_node("Identity", [a], [b]) for a, b in zip(names, leaving, strict=True)],
        f"leave_at_{step}",
        [],
        _infos(types, leaving),
    )
    inner, later = _nodes(parts, weights, step + 1, types, opset)
    outputs = _infos(types, later)
    go_on = helper.make_graph(inner, f"from_step_{step + 1}", [], outputs, weights[step + 1])
    found = [f"{name}_from_{step}" for name in types]
    nodes.append(helper.make_node("If", [is_sure], found, then_branch=leave, else_branch=go_on))
    return nodes, found


def _infos(types: dict, names):
    from onnx import helper

    return [
        helper.make_tensor_value_info(name, *of)
        for name, of in zip(names, types.values(), strict=True)
    ]
