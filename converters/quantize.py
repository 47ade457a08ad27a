"""Mixed int8 for a TFLite LeViT: convolutions and dense layers in int8, attention's core in float.

Matrix products of attention, their softmax and bias, and hard-swish stay in float32: as int8 ops
they fall outside the XNNPACK delegate or run slower in it, so that a network quantised to the last
op is no faster than a float one. What is left is nearly all of the arithmetic and all of the
weights, per channel, and the file runs as one XNNPACK partition.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import warnings
from collections.abc import Iterator

import numpy as np

from levit_tf.signatures import INPUT, SIGNATURE


def quantize_mixed_int8(content: bytes, images: np.ndarray) -> bytes:
    """Quantises a float TFLite file after training.

    Args:
      content: a float32 file made from a deploy graph of batch size 1.
      images: calibration pictures (n, height, width, 3), RGB 0..255.

    Returns:
      The quantised file, with float32 input and outputs.

    Raises:
      ImportError: ai-edge-quantizer is not installed.
    """
    try:
        from ai_edge_quantizer import calibrator, quantizer
        from ai_edge_quantizer.utils import qsv_utils
    except ImportError as error:
        raise ImportError(
            'int8 needs ai-edge-quantizer, which is missing: pip install "levit_tf[tflite]"'
        ) from error
    recipe = _mixed_recipe(content)
    # Absolute minima and maxima: the default, a moving average over pictures, clips what only some
    # of them show, and comes out three times farther from the float network.
    with _quiet():
        calibration = calibrator.Calibrator(content, qsv_update_func=qsv_utils.min_max_update)
        batches = [{INPUT: image[None].astype(np.float32)} for image in images]
        calibration.calibrate({SIGNATURE: batches}, recipe)
        result = quantizer.Quantizer(content, recipe.get_quantization_recipe()).quantize(
            calibration.get_model_qsvs(), enable_progress_report=False
        )
    quantized = bytearray(result.quantized_model)
    _repair_signature_outputs(content, quantized)
    return bytes(quantized)


def _mixed_recipe(content: bytes):
    """The quantiser's static int8 recipe, less the ops that stay in float."""
    from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager

    op = qtyping.TFLOperationName
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())

    def keep_float(kind, scope=".*"):
        manager.add_quantization_config(
            scope, kind, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE
        )

    for kind in (op.INPUT, op.OUTPUT, op.BATCH_MATMUL, op.SOFTMAX, op.HARD_SWISH):
        keep_float(kind)
    for kind, scope in _float_ops_by_place(content):
        keep_float(kind, f"^{re.escape(scope)}$")
    return manager


def _float_ops_by_place(content: bytes) -> Iterator[tuple]:
    """(kind, scope) of ops that stay in float because of where they stand.

    They are the normalisation, since pixels would be rounded twice, and what lies between a matrix
    product and the op after it: the bias, the transposition and reshaping of merged heads. Found by
    following the graph, as converters invent the names of such tensors.
    """
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils

    op = qtyping.TFLOperationName
    model = tfl_flatbuffer_utils.read_model(content)
    graph = model.subgraphs[0]
    consumers = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            consumers.setdefault(int(tensor), []).append(operator)

    def kind_of(operator):
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        return tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME.get(code)

    def follow(tensors, kinds):
        for tensor in tensors:
            for operator in consumers.get(int(tensor), []):
                if kind_of(operator) in kinds:
                    yield (
                        kind_of(operator),
                        tfl_flatbuffer_utils.get_op_scope(operator, graph.tensors),
                    )
                    yield from follow(operator.outputs, kinds)

    yield from follow(graph.inputs, (op.MUL, op.ADD))
    for operator in graph.operators:
        if kind_of(operator) == op.BATCH_MATMUL:
            yield from follow(operator.outputs, (op.ADD, op.TRANSPOSE, op.RESHAPE))


def _repair_signature_outputs(content: bytes, quantized: bytearray) -> None:
    """Makes the signature name the outputs of the graph again, in place.

    Where the quantiser puts a DEQUANTIZE behind an output that is read inside the graph as well, as
    the logits are by the softmax, it updates the graph's outputs but leaves the signature at the
    int8 tensor before it, which a delegate never computes.
    """
    from ai_edge_litert.schema_py_generated import Model

    before, after = Model.GetRootAs(content), Model.GetRootAs(quantized)
    old_outputs = before.Subgraphs(0).OutputsAsNumpy().tolist()
    new_outputs = after.Subgraphs(0).OutputsAsNumpy().tolist()
    for n in range(after.SignatureDefs(0).OutputsLength()):
        position = old_outputs.index(before.SignatureDefs(0).Outputs(n).TensorIndex())
        table = after.SignatureDefs(0).Outputs(n)._tab
        # tensor_index is the second field of TensorMap, a uint32; its vtable entry is at 4 + 2.
        struct.pack_into("<I", quantized, table.Pos + table.Offset(6), new_outputs[position])


@contextlib.contextmanager
def _quiet():
    """Without the quantiser's progress bars, and the warning that its debug mode costs memory."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        yield
