"""Quantises a float32 TFLite LeViT: after training, or with the ranges that training learned.

Mixed int8 is the fastest on CPUs: convolutions, dense layers (per channel) and attention's matrix
products are int8; attention's bias and softmax, and hard-swish stay in float32. So nearly all
arithmetic and all weights are int8, and the file is a single XNNPACK partition.

Full int8 is for accelerators that only support integers: every op, the input and the outputs are
integers. `converters.tflite.integer_graph` prepares the network for it.

In a network that finds joints, both end at the logits: an axis has more places than int8 has
numbers, so the decoding and the output are float32.
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
from converters.tflite.bias_correction import correct_biases
from converters.tflite.calibration_methods import measure_ranges
from converters.tflite.integer_graph import (
    integer_graph,
    make_interface_uint8,
    products,
    symmetric_tensors,
)
from converters.tflite.quantization_ranges import Ranges, combine, with_room_for_biases
from converters.tflite.tflite_graph import Graph
from levit_common.shipped_names import KEYPOINTS

# Ops in which weights or attention work.
_OF_THE_NETWORK = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")


def quantize_mixed_int8(
    graph: Graph,
    images: np.ndarray | None = None,
    ranges: Ranges | None = None,
    method: str = DEFAULT_CALIBRATION_METHOD,
) -> Graph:
    """Quantises convolutions, dense layers and attention's matrix products.

    Args:
      graph: float32 graph from `converters.tflite.conversion.float32_graph`, with batch size 1.
      images: calibration pictures (n, height, width, 3), RGB 0..255.
      ranges: known ranges by names of tensors in `graph`, see
        `converters.tflite.quantization_ranges.Ranges`; they have priority over calibrated ones.
        Those of the second operands of matrix products (k and v) are widened so that their zero
        point is 0: min = -128/127 max. Without `images`, products without a range stay in float.
      method: one of `converters.choices.CALIBRATION_METHODS`.

    Returns:
      The quantised graph, with float32 input and outputs.

    Raises:
      ImportError: ai-edge-quantizer is not installed.
      ValueError: there are neither `images` nor `ranges`; `method` is unknown, or there are too few
        images for it; a range belongs to no tensor in `graph`, or has a wrong shape; or, without
        `images`, a range is missing.
    """
    _check_arguments(images, ranges, method)
    # A network that an earlier version trained for int8 has no ranges for its products.
    in_float = [x for x in products(graph) if images is None and x not in (ranges or {})]
    recipe, symmetric = _mixed_recipe(graph, in_float), symmetric_tensors(graph, in_float)
    ranges = _all_ranges(graph, recipe, images, ranges, method, symmetric)
    return _quantize(graph, recipe, ranges, images)


def quantize_full_int8(
    graph: Graph,
    images: np.ndarray | None = None,
    ranges: Ranges | None = None,
    io_dtype: str = "uint8",
    method: str = DEFAULT_CALIBRATION_METHOD,
) -> Graph:
    """Quantises every op, the input and the outputs.

    Args:
      graph: as in `quantize_mixed_int8`; it is changed.
      images: as in `quantize_mixed_int8`.
      ranges: as in `quantize_mixed_int8`, for all products. The range of the input is always
        0..255.
      io_dtype: type of the input and the outputs, "uint8" or "int8". A uint8 input has plain
        pixels.
      method: as in `quantize_mixed_int8`.

    Returns:
      The quantised graph; of one that finds joints the output stays float32.

    Raises:
      ImportError: ai-edge-quantizer is not installed.
      ValueError: `io_dtype` is unknown, or as in `quantize_mixed_int8`.
    """
    if io_dtype not in IO_DTYPES:
        raise ValueError(f"io_dtype must be {' or '.join(IO_DTYPES)}. Received: {io_dtype!r}")
    _check_arguments(images, ranges, method)
    recipe, symmetric = _static_recipe(graph), symmetric_tensors(graph)
    ranges = _all_ranges(graph, recipe, images, ranges, method, symmetric)
    ranges = integer_graph(graph, ranges)
    (pixels,) = graph.inputs()
    ranges[pixels] = {"min": np.float32(0), "max": np.float32(255)}
    quantized = _quantize(graph, recipe, combine(graph, {}, ranges, symmetric), images)
    if io_dtype == "uint8":
        make_interface_uint8(quantized)
    return quantized


def check_quantizer() -> None:
    """Raises ImportError if ai-edge-quantizer is missing; the message says what to install."""
    try:
        import ai_edge_quantizer  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'int8 needs ai-edge-quantizer, which is missing: pip install "levit_tf[tflite]"'
        ) from error


def no_quantization(manager, kind: str, scope: str = ".*") -> None:
    """Keeps ops in float.

    Args:
      manager: a `RecipeManager` of ai-edge-quantizer.
      kind: name of the ops in TFLite's schema.
      scope: pattern of the names of their outputs; here each name ends with a semicolon.
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
    """Returns the given ranges and, if there are pictures, the calibrated ones."""
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
            result = worker.quantize(
                with_room_for_biases(graph, ranges), enable_progress_report=False
            )
        except ValueError as error:
            if images is not None:
                raise
            raise ValueError(f"A range is missing, and there are no images. {error}") from error
    quantized = Graph(result.quantized_model)
    _restore_signature_outputs(quantized, graph)
    if images is not None:
        correct_biases(graph, quantized, images)
    return quantized


def _static_recipe(graph: Graph):
    """Returns the recipe for int8 activations and per-channel int8 kernels, except decoding."""
    from ai_edge_quantizer import qtyping, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    decoding = list(_decoding(graph))
    known = {kind.value for kind in qtyping.TFLOperationName}  # it leaves others in float anyway
    for kind, output in decoding:
        if kind in known:
            no_quantization(manager, kind, f"^{re.escape(output)};$")
    if decoding:
        no_quantization(manager, "OUTPUT")
    return manager


def _mixed_recipe(graph: Graph, products_in_float: Iterable[str]):
    """Returns the quantiser's static int8 recipe, without the ops that stay in float."""
    manager = _static_recipe(graph)
    for kind in ("INPUT", "OUTPUT", "SOFTMAX", "HARD_SWISH"):
        no_quantization(manager, kind)
    by_place = [("BATCH_MATMUL", output) for output in products_in_float]
    for kind, output in (*by_place, *_float_ops_by_place(graph)):
        no_quantization(manager, kind, f"^{re.escape(output)};$")
    return manager


def _float_ops_by_place(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yields (kind, output) of ops that stay in float because of their place in the graph.

    These are the normalisation, since pixels would be rounded twice, and the ops after a matrix
    product of attention: the bias, and the transposition and reshaping that merge heads. They are
    found by following the graph, because converters choose the names of such tensors. Sigmoids at
    the end are float as a softmax is: their input is, if the logits are an output, too.
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
        elif graph.kind(operator) == "LOGISTIC":
            yield from (("LOGISTIC", x) for x in graph.outputs_of(operator) if x in graph.outputs())


def _decoding(graph: Graph) -> Iterator[tuple[str, str]]:
    """(kind, output) of the ops that make joints of logits; none in other networks."""
    if KEYPOINTS not in graph.signature_outputs():
        return
    read = set()  # by what lies behind
    for operator in reversed(graph.operators):
        outputs = graph.outputs_of(operator)
        if graph.kind(operator) in _OF_THE_NETWORK or read.intersection(outputs):
            read.update(graph.inputs_of(operator))
        else:
            yield graph.kind(operator), outputs[0]


def _restore_signature_outputs(quantized: Graph, before: Graph) -> None:
    """Makes the signature of a quantised graph refer to the graph's outputs again.

    If an output is also read inside the graph, as the logits are by the softmax, the quantiser adds
    a DEQUANTIZE after it and updates the graph's outputs. But the signature still refers to the
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
    """Hides the quantiser's progress bars, and its warning that debug mode needs memory."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        yield
