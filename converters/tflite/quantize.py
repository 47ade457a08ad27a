"""Quantises a float32 TFLite LeViT: after training, or with the ranges that training learned.

Mixed int8, which CPUs run fastest: convolutions and dense layers in int8, attention's matrix
products, their softmax and bias, and hard-swish in float32. That is nearly all of the arithmetic
and all of the weights, per channel, and the file is one XNNPACK partition.

Full int8, for accelerators that know integers only: every op, and the input and outputs.
`converters.tflite.integer_graph` prepares the network for it.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterable, Iterator

import numpy as np

from converters.choices import (
    DEFAULT_CALIBRATION_METHOD,
    IO_DTYPES,
    check_calibration_method,
)
from converters.tflite.calibration_methods import measure_ranges
from converters.tflite.integer_graph import integer_graph, make_interface_uint8, symmetric_tensors
from converters.tflite.quantization_ranges import Ranges, combine
from converters.tflite.tflite_graph import Graph


def quantize_mixed_int8(
    graph: Graph,
    images: np.ndarray | None = None,
    ranges: Ranges | None = None,
    method: str = DEFAULT_CALIBRATION_METHOD,
) -> Graph:
    """Quantises convolutions and dense layers, and leaves attention's core in float.

    Args:
      graph: of float32, made by `converters.tflite.conversion.float32_graph` for batches of 1.
      images: calibration pictures (n, height, width, 3), RGB 0..255.
      ranges: known ranges by names of tensors in `graph`, see
        `converters.tflite.quantization_ranges.Ranges`; they come before those of the calibration.
      method: one of `converters.choices.CALIBRATION_METHODS`.

    Returns:
      The quantised graph, with float32 input and outputs.

    Raises:
      ImportError: ai-edge-quantizer is not installed.
      ValueError: neither `images` nor `ranges`; another `method`, or too few images for it; a range
        of a tensor that `graph` does not have, or of a wrong shape; without `images`, a range that
        is missing.
    """
    _check_arguments(images, ranges, method)
    recipe = _mixed_recipe(graph)
    return _quantize(graph, recipe, _all_ranges(graph, recipe, images, ranges, method), images)


def quantize_full_int8(
    graph: Graph,
    images: np.ndarray | None = None,
    ranges: Ranges | None = None,
    io_dtype: str = "uint8",
    method: str = DEFAULT_CALIBRATION_METHOD,
) -> Graph:
    """Quantises every op, the input and the outputs.

    Args:
      graph: as in `quantize_mixed_int8`, but changed.
      images: as in `quantize_mixed_int8`.
      ranges: as in `quantize_mixed_int8`. That of the input is always 0..255, and that of a matrix
        product's second operand (k and v) is widened unless its zero point is 0: min = -128/127
        max.
      io_dtype: "uint8" or "int8", the type of the input and the outputs. A uint8 input is the
        pixels as they are.
      method: as in `quantize_mixed_int8`.

    Returns:
      The quantised graph.

    Raises:
      ImportError: ai-edge-quantizer is not installed.
      ValueError: another `io_dtype`, or as in `quantize_mixed_int8`.
    """
    if io_dtype not in IO_DTYPES:
        raise ValueError(f"io_dtype must be {' or '.join(IO_DTYPES)}. Received: {io_dtype!r}")
    _check_arguments(images, ranges, method)
    recipe, symmetric = _static_recipe(), symmetric_tensors(graph)
    ranges = _all_ranges(graph, recipe, images, ranges, method, symmetric)
    ranges = integer_graph(graph, ranges)
    (pixels,) = graph.inputs()
    ranges[pixels] = {"min": np.float32(0), "max": np.float32(255)}
    quantized = _quantize(graph, recipe, combine(graph, {}, ranges, symmetric), images)
    if io_dtype == "uint8":
        make_interface_uint8(quantized)
    return quantized


def check_quantizer() -> None:
    """Raises ImportError, which says what to install, where ai-edge-quantizer is missing."""
    try:
        import ai_edge_quantizer  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'int8 needs ai-edge-quantizer, which is missing: pip install "levit_tf[tflite]"'
        ) from error


def no_quantization(manager, kind: str, scope: str = ".*") -> None:
    """Leaves ops in float.

    Args:
      manager: a `RecipeManager` of ai-edge-quantizer.
      kind: their name in TFLite's schema.
      scope: pattern of the names of their outputs, each of which ends in a semicolon here.
    """
    from ai_edge_quantizer import qtyping, quantizer

    manager.add_quantization_config(
        scope, qtyping.TFLOperationName(kind), algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE
    )


def _check_arguments(images: np.ndarray | None, ranges: Ranges | None, method: str) -> None:
    check_quantizer()
    check_calibration_method(method, "int8", None if images is None else len(images))
    if images is None and not ranges:
        raise ValueError("Quantising takes calibration images or known ranges; there are neither.")


def _all_ranges(
    graph: Graph,
    recipe,
    images: np.ndarray | None,
    given: Ranges | None,
    method: str,
    symmetric: Iterable[str] = (),
) -> Ranges:
    """Those that are given, and where there are pictures, those that they show."""
    measured = {}
    if images is not None:
        with quiet():
            measured = measure_ranges(graph, recipe, images, method, symmetric)
    return combine(graph, measured, given or {}, symmetric)


def _quantize(graph: Graph, recipe, ranges: Ranges, images: np.ndarray | None) -> Graph:
    from ai_edge_quantizer import quantizer

    with quiet():
        worker = quantizer.Quantizer(graph.content(), recipe.get_quantization_recipe())
        try:
            result = worker.quantize(ranges, enable_progress_report=False)
        except ValueError as error:
            if images is not None:
                raise
            raise ValueError(f"A range is missing, and there are no images. {error}") from error
    quantized = Graph(result.quantized_model)
    _restore_signature_outputs(quantized, graph)
    return quantized


def _static_recipe():
    """The quantiser's recipe of int8 activations and kernels, these per channel."""
    from ai_edge_quantizer import recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    return manager


def _mixed_recipe(graph: Graph):
    """The quantiser's static int8 recipe, less the ops that stay in float."""
    manager = _static_recipe()
    for kind in ("INPUT", "OUTPUT", "BATCH_MATMUL", "SOFTMAX", "HARD_SWISH"):
        no_quantization(manager, kind)
    for kind, output in _float_ops_by_place(graph):
        no_quantization(manager, kind, f"^{re.escape(output)};$")
    return manager


def _float_ops_by_place(graph: Graph) -> Iterator[tuple[str, str]]:
    """(kind, output) of ops that stay in float because of where they stand.

    They are the normalisation, since pixels would be rounded twice, and what lies between a matrix
    product and the op after it: the bias, the transposition and reshaping of merged heads. Found by
    following the graph, as converters invent the names of such tensors.
    """

    def follow(names, kinds):
        for name in names:
            for operator in graph.consumers(name):
                if graph.kind(operator) in kinds:
                    outputs = graph.outputs_of(operator)
                    yield graph.kind(operator), outputs[0]
                    yield from follow(outputs, kinds)

    yield from follow(graph.inputs(), ("RESHAPE", "DEPTHWISE_CONV_2D"))
    for operator in graph.operators:
        if graph.kind(operator) == "BATCH_MATMUL":
            yield from follow(graph.outputs_of(operator), ("ADD", "TRANSPOSE", "RESHAPE"))


def _restore_signature_outputs(quantized: Graph, before: Graph) -> None:
    """Has the signature of a quantised graph name the outputs of the graph again.

    Where the quantiser puts a DEQUANTIZE behind an output that is read inside the graph as well, as
    the logits are by the softmax, it updates the graph's outputs but leaves the signature at the
    int8 tensor before it, which a delegate never computes.
    """
    old_outputs = list(before.model.subgraphs[0].outputs)
    new_outputs = quantized.model.subgraphs[0].outputs
    for old, new in zip(
        before.model.signatureDefs[0].outputs, quantized.model.signatureDefs[0].outputs, strict=True
    ):
        new.tensorIndex = new_outputs[old_outputs.index(old.tensorIndex)]


@contextlib.contextmanager
def quiet():
    """Without the quantiser's progress bars, and the warning that its debug mode costs memory."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        yield
