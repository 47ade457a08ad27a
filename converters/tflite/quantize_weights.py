"""Stores the weights of a float32 TFLite LeViT in fewer bits; activations stay in float."""

from __future__ import annotations

import numpy as np

from converters.tflite.quantize import check_quantizer, no_quantization, quiet
from converters.tflite.tflite_graph import Graph

# Ops that read kernels and attention biases. Other constants are small, or scale the pixels, which
# must stay exact.
_LARGE = ("CONV_2D", "FULLY_CONNECTED", "ADD")
_SMALLEST = 256  # elements
# Metadata that allows TFLite to compute a network in float16, including sums.
REDUCED_PRECISION = ("reduced_precision_support", b"fp16accfp16")


def convert_float16(graph: Graph) -> Graph:
    """Stores constants as float16, and allows computing in float16.

    XNNPACK expands the constants once, when the file is loaded. It computes in float16 if the CPU
    supports this (ARMv8.2, AVX512-FP16), else in float32.

    Args:
      graph: a float32 graph. It is changed.

    Returns:
      `graph` with half the size, and with float32 input and outputs.
    """
    wide = {
        name
        for operator in graph.operators
        if graph.kind(operator) in _LARGE
        for name in graph.inputs_of(operator)
        if graph.is_constant(name) and np.prod(graph.tensors[name].shape) >= _SMALLEST
    }
    for name in sorted(wide):
        graph.store_as_float16(name)
    graph.set_metadata(*REDUCED_PRECISION)
    return graph


def quantize_dynamic_int8(graph: Graph) -> Graph:
    """Quantises the kernels of convolutions and dense layers to int8, per channel.

    Their inputs are quantised at run time, each picture with its own range, so that no calibration
    is needed.

    Args:
      graph: a float32 graph.

    Returns:
      The quantised graph, with float32 input and outputs.

    Raises:
      ImportError: ai-edge-quantizer is not installed.
    """
    check_quantizer()
    from ai_edge_quantizer import quantizer, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    no_quantization(manager, "DEPTHWISE_CONV_2D")  # the normalisation of pixels
    with quiet():
        worker = quantizer.Quantizer(graph.content(), manager.get_quantization_recipe())
        return Graph(worker.quantize(enable_progress_report=False).quantized_model)
