"""Compares a file with its Keras model, before the file is put in place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from converters.verification.export_check import check_comparable
from converters.verification.verify_artefact import FLOAT32, Artefact
from converters.verification.verify_compare import OutputDifferences, compare_outputs
from converters.verification.verify_graphs import tflite_artefact
from converters.verification.verify_pictures import comparison_pictures

# Enough pictures to tell a good file from a bad one.
_PICTURES = 32
# A quantised file below both limits computes something else than the model.
_LOWEST_AGREEMENT = 0.5
_LOWEST_COSINE = 0.5
# The same for a single value per picture: its mean difference, relative to the largest value.
_LARGEST_MEAN = 0.25


def check(
    path: str | os.PathLike,
    reference: Artefact,
    images: np.ndarray | None,
    tolerance: float | None,
) -> dict[str, Any]:
    """Runs a file and the user's model on pictures, and compares their outputs.

    Args:
      path: the TFLite file.
      reference: the given Keras model, called as its user would; see
        `converters.verification.verify_keras.model_artefact`.
      images: plain pixels 0..255 of shape (n, height, width, channels), of which some are used;
        None for pictures that come with scikit-learn.
      tolerance: largest allowed difference of an output, relative to its largest value, or that of
        the model's precision if it is larger; None for a file with coarse rounding, of which only
        the predictions must agree.

    Returns:
      Results for the JSON next to the file: largest, mean and relative difference and lowest cosine
      of each output, and the share of pictures for which both predict the same class.

    Raises:
      ImportError: `images` is None, and scikit-learn is not installed.
      ValueError: the outputs differ by more than `tolerance`, or the predictions do not agree;
        or see `converters.verification.export_check.check_comparable`.
    """
    found = compare_with_keras(
        tflite_artefact(Path(path)), Path(path), reference, images, tolerance
    )
    agreement = {}
    if found.same_top1 is not None:
        agreement["same_top1"] = found.same_top1 / found.pictures
    return {
        "pictures": found.pictures,
        **agreement,
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


def compare_with_keras(
    export: Artefact,
    path: Path,
    reference: Artefact,
    images: np.ndarray | None,
    tolerance: float | None,
) -> OutputDifferences:
    """Compares a file of any format with its Keras model; arguments and errors as in `check`.

    Args:
      export: the opened file.
      path: final path of the file, for the error message.
      reference: see `check`.
      images: see `check`.
      tolerance: see `check`.
    """
    if images is None:
        images = comparison_pictures(None, reference.network.input_shape[1:])
    images = np.asarray(images, np.float32)
    images = images[:: -(-len(images) // _PICTURES)]
    found = compare_outputs(reference, export, images)
    check_comparable(found, reference, path.name)
    if not _is_close(found, tolerance, reference):
        raise ValueError(
            f"{path.name}: not written, as it does not compute what the Keras model does. "
            f"{_summary(found)}"
        )
    return found


def _is_close(found: OutputDifferences, tolerance: float | None, reference: Artefact) -> bool:
    if tolerance is not None:
        precision = reference.precision
        return found.is_close(max(tolerance, precision.tolerance), precision == FLOAT32)
    difference, network = found.outputs[found.deciding], reference.network
    if tuple(network.output_shapes.get(found.deciding, (None, network.classes)))[1:] == (1,):
        # The cosine of two single values tells only whether their signs are the same.
        return difference.mean * difference.relative <= _LARGEST_MEAN * difference.maximum
    if difference.cosine >= _LOWEST_COSINE:
        return True
    return (found.same_top1 or 0) >= _LOWEST_AGREEMENT * found.pictures


def _summary(found: OutputDifferences) -> str:
    difference = found.outputs[found.deciding]
    same = ""
    if found.same_top1 is not None:
        same = f"Of {found.pictures} pictures {found.same_top1} are put into the same class; "
    return (
        f"{same}{found.deciding} differ by {difference.maximum:.1e} at most, "
        f"{difference.relative:.1e} of the largest."
    )
