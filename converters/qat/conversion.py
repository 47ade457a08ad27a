"""A network that was trained for int8 to the TFLite or ONNX file that it was trained for.

The command is `python -m converters.qat`, whose help says more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.onnx.conversion import to_onnx
from converters.onnx.recipes import ONNX_RECIPES
from converters.qat.qat_model import QuantizedModel, load_quantized
from converters.qat.qat_ranges import tensor_ranges
from converters.tflite.conversion import to_tflite
from levit_common.shipped_names import PROBABILITIES
from levit_tf.keras_graph.properties import model_properties
from levit_tf.prediction.predictor import labels_for

# The network in the folder of a training run.
FINAL = "final.keras"
ONNX = ".onnx"


def export(
    quantized: QuantizedModel,
    path: str | os.PathLike,
    *,
    outputs: str | None = None,
    io_dtype: str | None = None,
    images: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    source: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes the TFLite or ONNX file that a network was trained for.

    Args:
      quantized: the trained network.
      path: the file to write, ending in .tflite, with a JSON about it beside it, or in .onnx.
      outputs: of a TFLite file, see `converters.tflite.conversion.to_tflite`; an ONNX file has all.
      io_dtype: of a TFLite file, see `converters.tflite.conversion.to_tflite`.
      images: pictures (n, height, width, 3), RGB 0..255, to compare the file with Keras on; None
        for pictures that come with scikit-learn.
      class_names: see `converters.tflite.conversion.to_tflite`.
      source: the file that `quantized` is from, for the JSON.
      overwrite: whether an existing `path` is replaced.

    Returns:
      What the JSON says; of an ONNX file its recipe and its distance from Keras.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false.
      ImportError: a package is missing that the recipe needs.
      ValueError: an argument is not valid, or the file does not compute what the network does.
        Nothing is written then.
    """

    def ranges(graph):
        return tensor_ranges(graph, quantized.ranges)

    given = {"calibration_images": images, "class_names": class_names, "overwrite": overwrite}
    if Path(path).suffix == ONNX:
        if quantized.target not in ONNX_RECIPES:
            raise ValueError(
                f"{source or path}: trained for {quantized.target}, which an ONNX file cannot be. "
                "Write a .tflite file, or train with --set=qat=int8."
            )
        if outputs or io_dtype:
            raise ValueError(
                f"{path}: --outputs and --io_dtype are for TFLite; an ONNX file takes floats, and "
                "returns logits and probabilities."
            )
        written = to_onnx(quantized.model, path, recipe=quantized.target, ranges=ranges, **given)
        return {"recipe": quantized.target, "relative_difference": float(written)}
    return to_tflite(
        quantized.model,
        path,
        recipe=quantized.target,
        outputs=outputs or PROBABILITIES,
        io_dtype=io_dtype,
        ranges=ranges,
        source=source,
        **given,
    )


def convert(
    model: str | os.PathLike,
    output: str | os.PathLike,
    *,
    outputs: str | None = None,
    io_dtype: str | None = None,
    labels: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes the TFLite or ONNX file of a run.

    Args:
      model: the folder of a run of quantisation-aware training, or a `.keras` file that such a run
        has written.
      output: see `export`.
      outputs: see `export`.
      io_dtype: see `export`.
      labels: class names, one a line; by default the network's own, else those of `labels.txt`
        beside the `.keras` file, if any.
      overwrite: whether an existing `output` is replaced.

    Returns:
      As `export`.

    Raises:
      FileNotFoundError: there is no `model`.
      FileExistsError: `output` exists and `overwrite` is false.
      ValueError: `model` was not trained for int8, or does not fit `labels`. Nothing is written.
    """
    source = Path(model)
    if source.is_dir():
        source /= FINAL
        if not source.is_file():
            raise FileNotFoundError(f"{model}: no {FINAL} in it, so no run that is finished.")
    quantized = load_quantized(source)
    own = model_properties(quantized.model).class_names
    return export(
        quantized,
        output,
        outputs=outputs,
        io_dtype=io_dtype,
        class_names=labels_for(labels, source, own),
        source=source,
        overwrite=overwrite,
    )
