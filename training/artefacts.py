"""Writes a trained network in every format, and formats what was measured of each file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import levit_tf
from converters.choices import (
    DEFAULT_CALIBRATION_METHOD,
    LEAST_CALIBRATION_IMAGES,
    SAVED_MODEL_FILES,
)
from converters.qat.conversion import export
from converters.qat.qat_model import QuantizedModel
from converters.reporting.file_figures import FileFigures
from converters.saved_model.conversion import to_saved_model, write_labels
from converters.tflite.conversion import to_tflite
from levit_common.files import atomic_path
from levit_common.markdown import markdown_table
from levit_lite.class_names import LABELS_FILE
from levit_tf.keras_graph.endings import have_exits

REFERENCE = "final.keras"
FAKE_QUANTIZED = "fake_quantized"


def write_artefacts(
    model: keras.Model | QuantizedModel,
    folder: Path,
    *,
    class_names: Sequence[str],
    calibration_images: np.ndarray,
    overwrite: bool = False,
) -> list[str]:
    """Writes a trained network in every format.

    Args:
      model: a LeViT in train form with heads="average", not distributed, or one that finds joints.
        One with exits is written as `.keras` files only. Or the result of quantisation-aware
        training.
      folder: an existing folder to write to.
      class_names: one name for each class, or for each joint.
      calibration_images: see `converters.tflite.conversion.to_tflite`.
      overwrite: whether to replace existing files.

    Returns:
      Names of the written files. The first is the network as it was trained: `REFERENCE`, or
      `FAKE_QUANTIZED` after quantisation-aware training.

    Raises:
      FileExistsError: a file of one of these names exists and `overwrite` is false.
    """
    if isinstance(model, QuantizedModel):
        return _write_quantized(model, folder, class_names, calibration_images, overwrite)
    names = [REFERENCE, "fused.keras", "saved_model", "fp32.tflite", "int8.tflite"]
    final, fused, saved_model, fp32, int8 = (folder / name for name in names)
    with atomic_path(folder / LABELS_FILE, overwrite) as temporary:
        write_labels(temporary, class_names)
    for path, network in ((final, model), (fused, levit_tf.fuse(model))):
        with atomic_path(path, overwrite) as temporary:
            network.save(temporary)
    if have_exits(model.output):  # `converters.to_dynamic` ships these, once it knows thresholds
        return names[:2]
    to_saved_model(
        model,
        saved_model,
        class_names=class_names,
        images=calibration_images,
        overwrite=overwrite,
    )
    shipped = {"class_names": class_names, "calibration_images": calibration_images}
    to_tflite(model, fp32, overwrite=overwrite, **shipped)
    # A run on very few pictures must have its artefacts as well.
    few = len(calibration_images) < LEAST_CALIBRATION_IMAGES
    method = "min_max" if few else DEFAULT_CALIBRATION_METHOD
    to_tflite(model, int8, recipe="int8", calibration_method=method, overwrite=overwrite, **shipped)
    return names


def _write_quantized(
    model: QuantizedModel,
    folder: Path,
    class_names: Sequence[str],
    images: np.ndarray,
    overwrite: bool,
) -> list[str]:
    """Writes a quantised network: as trained, as `.keras` to continue from, and as `.tflite`."""
    from converters.qat.qat_saved_model import write_fake_quantized  # needs what other runs do not

    names = [FAKE_QUANTIZED, REFERENCE, f"{model.target}.tflite"]
    trained, final, tflite = (folder / name for name in names)
    with atomic_path(folder / LABELS_FILE, overwrite) as temporary:
        write_labels(temporary, class_names)
    with atomic_path(trained, overwrite, SAVED_MODEL_FILES) as temporary:
        write_fake_quantized(model, temporary)
    with atomic_path(final, overwrite) as temporary:
        model.save(temporary)
    export(model, tflite, images=images, class_names=class_names, overwrite=overwrite)
    return names


def format_table(reports: Sequence[FileFigures]) -> str:
    """Formats the reports as a Markdown table."""
    rows = [
        ("artefact", "size, kB", "top-1, %", "agreement with Keras, %", "ms per image"),
        *(
            (
                report.name,
                f"{report.bytes / 1000:,.0f}",
                f"{100 * report.top1:.2f}",
                f"{100 * report.agreement:.2f}",
                f"{report.ms_per_image:.2f}",
            )
            for report in reports
        ),
    ]
    return markdown_table(rows, right=range(1, len(rows[0])))
