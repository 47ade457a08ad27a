"""Measures accuracy, agreement and time of a network's files on pictures."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from levit_common.files import size_of
from levit_tf.prediction.predictor import load_predictor

_TIMED_CALLS = 30


@dataclasses.dataclass(frozen=True)
class FileFigures:
    """Measured figures of one file.

    Attributes:
      name: name of the file or directory in its folder.
      bytes: its size; for a directory, the total over its files.
      top1: share of pictures whose label is predicted, 0..1; None if the labels are not known.
      agreement: share of pictures for which it predicts the same class as the first file, 0..1.
      ms_per_image: median time for one picture at a time, in milliseconds.
    """

    name: str
    bytes: int
    top1: float | None
    agreement: float
    ms_per_image: float


def measure_files(
    folder: Path, names: Sequence[str], images: np.ndarray, labels: np.ndarray | None
) -> tuple[list[FileFigures], np.ndarray]:
    """Classifies pictures with files of one network, loaded in the way that users load them.

    Args:
      folder: the folder with the files.
      names: names of the files; the others are compared with the first.
      images: (n, height, width, 3), RGB 0..255.
      labels: (n,) integers; None if they are not known.

    Returns:
      The figures of each file, and the probabilities (n, classes) that the first one gives.
    """
    figures, reference = [], None
    for name in names:
        predictor = load_predictor(folder / name)
        probabilities = predictor.predict(images)
        reference = probabilities if reference is None else reference
        found = probabilities.argmax(axis=1)
        figures.append(
            FileFigures(
                name=name,
                bytes=size_of(folder / name),
                top1=None if labels is None else float(np.mean(found == labels)),
                agreement=float(np.mean(found == reference.argmax(axis=1))),
                ms_per_image=1000 * _seconds(predictor.predict, images),
            )
        )
    return figures, reference


def _seconds(predict, images: np.ndarray) -> float:
    """Median time of one call with one picture, in seconds."""
    times = []
    for n in range(_TIMED_CALLS + 1):
        image = images[n % len(images)][None]
        start = time.perf_counter()
        predict(image)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first call may compile
