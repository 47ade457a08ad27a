"""Compares a TFLite file with the Keras graph that it was made from, before it is shipped."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from converters.verify_artefact import FLOAT32, Artefact
from converters.verify_compare import OutputDifferences, compare_outputs
from converters.verify_graphs import tflite_artefact
from converters.verify_pictures import comparison_pictures
from levit_tf.artefacts import Network
from levit_tf.signatures import LOGITS, PROBABILITIES

# Enough to tell a good file from a bad one.
_PICTURES = 32
# A quantised file that stays below both computes something else.
_LOWEST_AGREEMENT = 0.5
_LOWEST_COSINE = 0.5


def check(
    path: str | os.PathLike,
    graph: keras.Model,
    images: np.ndarray | None,
    tolerance: float | None,
) -> dict[str, Any]:
    """Runs a file and its Keras graph on pictures.

    Args:
      path: the TFLite file.
      graph: the deploy graph that it was made from.
      images: RGB 0..255 of shape (n, height, width, 3), of which some are used; None for pictures
        that come with scikit-learn.
      tolerance: largest difference of an output, relative to the largest value; None for a file
        whose rounding exceeds any useful one, which must only agree in its answers.

    Returns:
      For the JSON beside the file: largest, mean and relative difference and lowest cosine of each
      output, and the share of pictures that both put into the same class.

    Raises:
      ImportError: `images` is None, and scikit-learn is not installed.
      ValueError: the file differs by more than `tolerance`, or does not agree.
    """
    if images is None:
        images = comparison_pictures(None, graph.input.shape[1:3])
    images = np.asarray(images, np.float32)
    images = images[:: -(-len(images) // _PICTURES)]
    found = compare_outputs(_of_keras(graph), _of_tflite(Path(path)), images)
    if not _is_close(found, tolerance):
        raise ValueError(
            f"{Path(path).name}: not written, as it does not compute what the Keras model does. "
            f"{_summary(found)}"
        )
    return {
        "pictures": found.pictures,
        "same_top1": found.same_top1 / found.pictures,
        **{
            name: {
                "largest_difference": difference.maximum,
                "mean_difference": difference.mean,
                "relative_difference": difference.relative,
                "lowest_cosine": difference.cosine,
            }
            for name, difference in found.outputs.items()
        },
    }


def _is_close(found: OutputDifferences, tolerance: float | None) -> bool:
    if tolerance is not None:
        return found.within(tolerance)
    cosine = found.outputs[found.deciding].cosine
    return cosine >= _LOWEST_COSINE or found.same_top1 >= _LOWEST_AGREEMENT * found.pictures


def _summary(found: OutputDifferences) -> str:
    difference = found.outputs[found.deciding]
    return (
        f"Of {found.pictures} pictures {found.same_top1} are put into the same class; "
        f"{found.deciding} differ by {difference.maximum:.1e} at most, {difference.relative:.1e} "
        "of the largest."
    )


def _of_keras(graph: keras.Model) -> Artefact:
    def outputs(images):
        return _with_probabilities(graph.predict_on_batch(images))

    classes = next(iter(graph.output.values())).shape[-1]
    network = Network(lambda images: outputs(images)[PROBABILITIES], graph.input.shape, classes)
    return Artefact("Keras", "Keras", FLOAT32, network, outputs, outputs)


def _of_tflite(path: Path) -> Artefact:
    file = tflite_artefact(path)
    return dataclasses.replace(
        file, outputs=lambda images: _with_probabilities(file.outputs(images))
    )


def _with_probabilities(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if PROBABILITIES not in outputs:
        probabilities = keras.ops.softmax(outputs[LOGITS].astype(np.float32))
        outputs |= {PROBABILITIES: keras.ops.convert_to_numpy(probabilities)}
    return outputs
