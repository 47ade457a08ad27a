"""Checks an exported file against its original model, before the file is put in place."""

from __future__ import annotations

import os

import numpy as np

from converters.verification.verify_artefact import FLOAT32, Artefact
from converters.verification.verify_compare import OutputDifferences, compare_outputs
from converters.verification.verify_pictures import OPEN_SIZES, comparison_pictures

_CHECKED = 16  # number of pictures on which an export is compared


def check_comparable(
    found: OutputDifferences, reference: Artefact, path: str | os.PathLike
) -> None:
    """Raises ValueError for an export without all outputs of its model, or if either returns NaN.

    Args:
      found: the differences of both.
      reference: the user's model.
      path: final path of the file, for the error message.
    """
    if reference.source in found.broken:
        raise ValueError(f"{path}: not written: {reference.source} itself returns NaN or infinity.")
    if found.broken:
        raise ValueError(
            f"{path}: not written: it returns NaN or infinity where the Keras model does not."
        )
    if found.missing:
        raise ValueError(
            f"{path}: not written: it has no output {found.missing[0]!r}, which the Keras model "
            "has."
        )


def check_export(
    reference: Artefact,
    export: Artefact,
    images: np.ndarray | None,
    tolerance: float,
    path: str | os.PathLike,
) -> float:
    """Refuses an export that computes something else than its original model.

    Args:
      reference: the user's model, called as its user would.
      export: the file.
      images: plain pixels (n, height, width, channels); None for pictures that come with
        scikit-learn.
      tolerance: tolerance of `OutputDifferences.is_close`; that of the reference's precision if it
        is larger.
      path: final path of the file, for the error message.

    Returns:
      The largest relative difference.

    Raises:
      ImportError: `images` is None, and scikit-learn is not installed.
      ValueError: the difference is larger than `tolerance`; or see `check_comparable`.
    """
    shape = reference.network.input_shape[1:]
    batches = [images]
    if images is None:
        sizes = OPEN_SIZES if None in shape else OPEN_SIZES[:1]
        batches = [comparison_pictures(None, shape, open_size=size) for size in sizes]
    worst = 0.0
    tolerance = max(tolerance, reference.precision.tolerance)
    is_exact = reference.precision == export.precision == FLOAT32
    for batch in batches:
        found = compare_outputs(reference, export, np.asarray(batch[:_CHECKED], np.float32))
        check_comparable(found, reference, path)
        relative = found.outputs[found.deciding].relative
        if not found.is_close(tolerance, is_exact):
            size = "x".join(map(str, batch.shape[1:3]))
            raise ValueError(
                f"{path}: not written, as it does not compute what the Keras model does: "
                f"{found.deciding} of pictures of {size} differ by {relative:.1e} of the largest, "
                f"more than {tolerance:.0e}."
            )
        worst = max(worst, relative)
    return worst
