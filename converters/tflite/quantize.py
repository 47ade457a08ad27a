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

from converters.tflite.integer_graph import integer_graph, symmetric_tensors, with_uint8_interface
from converters.tflite.pixel_normalization import normalize_rows
from converters.tflite.quantization_ranges import Ranges, calibrate, combine
from converters.tflite.tflite_graph import Graph

IO_DTYPES = ("uint8", "int8")


def quantize_mixed_int8(
    content: bytes, images: np.ndarray | None = None, ranges: Ranges | None = None
) -> bytes:
    """Quantises convolutions and dense layers, and leaves attention's core in float.

    Args:
      content: a float32 file made from a deploy graph of batch size 1.
      images: calibration pictures (n, height, width, 3), RGB 0..255.
      ranges: known ranges by names of tensors in `content`, see
        `converters.tflite.quantization_ranges.Ranges`; they come before those of the calibration.

    Returns:
      The quantised file, with float32 input and outputs.

    Raises:
      ImportError: ai-edge-quantizer is not installed.
      ValueError: neither `images` nor `ranges`; a range of a tensor that `content` does not have,
        or of a wrong shape; without `images`, a range that is missing.
    """
    _check_arguments(images, ranges)
    content = normalize_rows(content)
    graph = Graph(content)
    return _quantize(content, graph, _mixed_recipe(graph), images, ranges or {})


def quantize_full_int8(
    content: bytes,
    images: np.ndarray | None = None,
    ranges: Ranges | None = None,
    io_dtype: str = "uint8",
) -> bytes:
    """Quantises every op, the input and the outputs.

    Args:
      content: as in `quantize_mixed_int8`.
      images: as in `quantize_mixed_int8`.
      ranges: as in `quantize_mixed_int8`. That of the input is always 0..255, and that of a matrix
        product's second operand (k and v) is widened unless its zero point is 0: min = -128/127
        max.
      io_dtype: "uint8" or "int8", the type of the input and the outputs. A uint8 input is the
        pixels as they are.

    Returns:
      The quantised file.

    Raises:
      ImportError: ai-edge-quantizer is not installed.
      ValueError: another `io_dtype`, or as in `quantize_mixed_int8`.
    """
    if io_dtype not in IO_DTYPES:
        raise ValueError(f"io_dtype must be {' or '.join(IO_DTYPES)}. Received: {io_dtype!r}")
    _check_arguments(images, ranges)
    content, ranges = integer_graph(normalize_rows(content), ranges or {})
    graph = Graph(content)
    (pixels,) = graph.inputs()
    ranges[pixels] = {"min": np.float32(0), "max": np.float32(255)}
    quantized = _quantize(
        content, graph, _static_recipe(), images, ranges, symmetric_tensors(graph)
    )
    return with_uint8_interface(quantized) if io_dtype == "uint8" else quantized


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


def _check_arguments(images: np.ndarray | None, ranges: Ranges | None) -> None:
    check_quantizer()
    if images is None and not ranges:
        raise ValueError("Quantising takes calibration images or known ranges; there are neither.")


def _quantize(
    content: bytes,
    graph: Graph,
    recipe,
    images: np.ndarray | None,
    given: Ranges,
    symmetric: Iterable[str] = (),
) -> bytes:
    from ai_edge_quantizer import quantizer

    with quiet():
        calibrated = {} if images is None else calibrate(content, recipe, images)
        ranges = combine(graph, calibrated, given, symmetric)
        worker = quantizer.Quantizer(content, recipe.get_quantization_recipe())
        try:
            result = worker.quantize(ranges, enable_progress_report=False)
        except ValueError as error:
            if images is not None:
                raise
            raise ValueError(f"A range is missing, and there are no images. {error}") from error
    return _with_signature_outputs(content, bytes(result.quantized_model))


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


def _with_signature_outputs(content: bytes, quantized: bytes) -> bytes:
    """The quantised file, with a signature that names the outputs of the graph again.

    Where the quantiser puts a DEQUANTIZE behind an output that is read inside the graph as well, as
    the logits are by the softmax, it updates the graph's outputs but leaves the signature at the
    int8 tensor before it, which a delegate never computes.
    """
    before, after = Graph(content).model, Graph(quantized)
    old_outputs = list(before.subgraphs[0].outputs)
    new_outputs = after.model.subgraphs[0].outputs
    for old, new in zip(
        before.signatureDefs[0].outputs, after.model.signatureDefs[0].outputs, strict=True
    ):
        new.tensorIndex = new_outputs[old_outputs.index(old.tensorIndex)]
    return after.content()


@contextlib.contextmanager
def quiet():
    """Without the quantiser's progress bars, and the warning that its debug mode costs memory."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        yield
