"""Opens SavedModel, TFLite and ONNX files for `converters.verify`.

A layer is found by its name in Keras, which exporters keep as part of the names of tensors or
nodes. If several have the same layer name, the last one in execution order is the layer's output.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from converters.layer_names import layer_in
from converters.verification.verify_artefact import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    INT8,
    INT8_WEIGHTS,
    Artefact,
    Precision,
)
from levit_common.shipped_names import INPUT, SIGNATURE
from levit_lite.prediction.quantized_values import dequantize, quantize
from levit_tf.opening.onnx_files import session_options
from levit_tf.prediction.network_files import read_network


def saved_model_artefact(path: Path, trust: bool = False) -> Artefact:
    """Opens a SavedModel; `trust` as in `read_network`."""
    network = read_network(path, trust=trust)  # raises readable errors for damaged files
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    loaded = network.opened
    signature = loaded.signatures[SIGNATURE]
    dtype = signature.structured_input_signature[1][INPUT].dtype
    types = {
        attribute.type
        for function in signature.graph.as_graph_def().library.function
        for node in function.node_def
        for attribute in node.attr.values()
    }

    @functools.cache
    def taps():
        frozen = convert_variables_to_constants_v2(signature)  # all functions in one graph
        ops = [
            op
            for op in frozen.graph.get_operations()
            if op.type != "Const" and op.outputs and op.outputs[0].dtype.is_floating
        ]
        tensors = _last((op.name, op.outputs[0]) for op in ops)
        # An op after a bias with the same name is an activation that is part of the layer.
        tensors |= _last((op.name, op.outputs[0]) for op in ops if op.type == "BiasAdd")
        return list(tensors), frozen.prune(frozen.inputs, list(tensors.values()))

    def layers(images):
        names, run = taps()
        found = run(tf.cast(images, dtype))
        return {name: np.asarray(y, np.float32) for name, y in zip(names, found, strict=True)}

    precision = FLOAT32
    if tf.bfloat16.as_datatype_enum in types:
        precision = BFLOAT16
    elif tf.float16.as_datatype_enum in types:
        precision = FLOAT16
    return Artefact(str(path), "SavedModel", precision, network, network.outputs, layers)


def tflite_artefact(path: Path) -> Artefact:
    """Opens a TFLite file."""
    network = read_network(path)
    from ai_edge_litert.interpreter import Interpreter

    precision = _tflite_precision(network.opened)
    image = network.opened.get_signature_runner(SIGNATURE).get_input_details()[INPUT]

    @functools.cache
    def taps():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
            keeping = Interpreter(model_path=str(path), experimental_preserve_all_tensors=True)
        keeping.allocate_tensors()
        tensors = {tensor["index"]: tensor for tensor in keeping.get_tensor_details()}
        operations = [op for op in keeping._get_ops_details() if op["op_name"] != "DELEGATE"]
        # A name may list all ops that were fused; the one that computes the tensor comes first.
        return keeping, _last(
            (tensors[index]["name"].split(";")[0], tensors[index])
            for op in operations
            for index in op["outputs"]
        )

    def layers(images):
        keeping, tensors = taps()
        keeping.set_tensor(keeping.get_input_details()[0]["index"], quantize(images, image))
        keeping.invoke()
        return {
            name: dequantize(keeping.get_tensor(tensor["index"]), tensor)
            for name, tensor in tensors.items()
        }

    return Artefact(str(path), "TFLite", precision, network, network.outputs, layers)


def _tflite_precision(interpreter) -> Precision:
    types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    computed = {
        types[index]
        for op in interpreter._get_ops_details()
        if op["op_name"] != "DELEGATE"
        for index in op["outputs"]
    }
    if np.int8 in computed or np.int16 in computed:
        return INT8
    if np.int8 in types.values():
        return INT8_WEIGHTS
    return FLOAT16 if np.float16 in types.values() else FLOAT32


def onnx_artefact(path: Path) -> Artefact:
    """Opens an ONNX file."""
    network = read_network(path)
    import onnxruntime

    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f'{path}: comparing an .onnx file needs onnx: pip install "levit_tf[onnx]"'
        ) from error
    model = onnx.load(path)
    session = network.opened
    has = [tensor.name for tensor in session.get_outputs()]
    is_half = session.get_inputs()[0].type == "tensor(float16)" or any(
        weight.data_type == onnx.TensorProto.FLOAT16 for weight in model.graph.initializer
    )
    dtype = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32

    @functools.cache
    def taps():
        tensors = _last(
            (name, node.output[0])
            for node in model.graph.node
            if node.op_type != "Transpose"  # its channels-last map is not the output of the layer
            for name in (node.name, node.output[0])
        )
        tensors = {name: tensor for name, tensor in tensors.items() if tensor not in has}
        for tensor in tensors.values():
            model.graph.output.append(onnx.ValueInfoProto(name=tensor))
        return tensors, onnxruntime.InferenceSession(
            model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
        )

    def layers(images):
        tensors, all_outputs = taps()
        found = all_outputs.run(list(tensors.values()), {INPUT: images.astype(dtype)})
        return {
            name: _channels_last(y, len(images)).astype(np.float32)
            for name, y in zip(tensors, found, strict=True)
        }

    precision = FLOAT16 if is_half else FLOAT32
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        precision = INT8
    return Artefact(str(path), "ONNX", precision, network, network.outputs, layers)


def _channels_last(y: np.ndarray, count: int) -> np.ndarray:
    """Converts outputs of an ONNX file for `count` pictures, maps or tokens, to channels-last."""
    if y.ndim == 2:
        return y.reshape(count, -1, y.shape[-1])
    return np.moveaxis(y, 1, -1)  # (batch, channels, height, width) -> (batch, ..., channels)


def _last(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Returns layer -> its last tensor, from pairs (name, tensor) in execution order."""
    found = {}
    for name, tensor in named:
        layer = layer_in(name)
        if layer:
            found.pop(layer, None)
            found[layer] = tensor
    return found
