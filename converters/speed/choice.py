"""Measures the candidates for a model on this machine, and chooses one.

Every candidate runs in a separate process, pinned to the cores that it may use, and they take
turns. The predictions of each are compared with those of the user's model on the same pictures.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from converters.deploy import class_count
from converters.speed import worker
from converters.speed.candidates import CANDIDATES
from converters.speed.turns import race
from levit_common.arrays import spread_indices, top1_of
from levit_common.files import size_of
from levit_common.quiet import held_stderr
from levit_tf.prediction.network_files import keras_network

# Largest number of pictures for comparing predictions; the first of them are also used for timing.
COMPARED = 64
# Candidates within this factor of the fastest count as equally fast; then agreement decides.
TIE = 1.05


@dataclasses.dataclass(frozen=True)
class Measured:
    """Measured results of a candidate.

    Attributes:
      name: name of the candidate in `CANDIDATES`.
      ms: milliseconds per picture, median over the turns.
      spread: distance of the quartiles, relative to the median.
      same: share of pictures for which it predicts the same class as the model.
      bytes: size of the file.
      memory: peak memory of its process in bytes.
    """

    name: str
    ms: float
    spread: float
    same: float
    bytes: int
    memory: int


def measure(
    model: keras.Model,
    target: str,
    images: np.ndarray,
    folder: Path,
    *,
    threads: int = 1,
    batch: int = 1,
    turns: int = 7,
    seconds: float = 0.3,
    input_range: str | None = None,
    names: Sequence[str] | None = None,
) -> list[Measured]:
    """Writes and measures every candidate for a target.

    Args:
      model: a classifier, see `converters.deploy.deploy_graph`.
      target: one of `converters.choices.PLACES`.
      images: RGB 0..255, (n, height, width, channels), with n at least `batch`; used to calibrate
        int8 and to compare predictions.
      folder: folder for the files.
      threads: number of CPU threads that each candidate may use.
      batch: batch size.
      turns: number of measurements of each candidate.
      seconds: approximate length of one measurement.
      input_range: see `converters.deploy.deploy_graph`.
      names: names of candidates, from `CANDIDATES`; by default all installed ones for the target.

    Returns:
      The results, fastest first.

    Raises:
      ValueError: `model` is not a classifier, there are too few pictures or too few cores, or a
        converter refuses the model.
    """
    if class_count(model) is None:
        raise ValueError(
            f"Model {model.name!r} is no classifier, but candidates are compared by their classes. "
            "Give a model with a softmax, a sigmoid or a dense layer at its end."
        )
    if len(images) < batch:
        raise ValueError(f"--batch={batch}: there are {len(images)} pictures. Give more of them.")
    cores = len(os.sched_getaffinity(0))
    if threads > cores:
        raise ValueError(f"--threads={threads}: this process has {cores} cores.")
    chosen = [CANDIDATES[name] for name in names or names_for(target)]
    images = np.asarray(images, np.float32)
    compared = images[spread_indices(len(images), max(COMPARED, batch))]
    worker.give_pictures(folder, compared)
    expected = _classes_of_model(model, compared, input_range)
    for candidate in chosen:
        path = folder / candidate.file
        if not path.exists():
            candidate.write(model, path, images, {"input_range": input_range})
    with held_stderr():  # runtimes print messages about delegates and threads
        answers = {c.name: worker.answers(c.name, folder, threads) for c in chosen}
        running = {c.name: worker.start(c.name, folder, threads, batch) for c in chosen}
        times = race(running, turns, seconds)
    found = []
    for candidate in chosen:
        same = float(np.mean(answers[candidate.name] == expected))
        of_it = times[candidate.name]
        size = size_of(folder / candidate.file)
        found.append(
            Measured(candidate.name, of_it.ms / batch, of_it.spread, same, size, of_it.memory)
        )
    return sorted(found, key=lambda one: one.ms)


def names_for(target: str) -> list[str]:
    """Returns the candidates for a target whose runtimes are installed."""
    return [name for name, c in CANDIDATES.items() if target in c.places and c.is_installed]


def missing_for(target: str) -> list[str]:
    """Returns packages for a target's candidates that are not installed."""
    candidates = CANDIDATES.values()
    return sorted({c.package for c in candidates if target in c.places and not c.is_installed})


def choose(measured: Sequence[Measured], least_same: float) -> Measured | None:
    """Returns the fastest candidate whose predictions agree with the model's; None without one.

    Among candidates within 5 % of the fastest, the one with the highest agreement is chosen, and
    among equal ones the smallest.

    Args:
      measured: results of all candidates.
      least_same: least share of predictions that must equal the model's.
    """
    good = [one for one in measured if one.same >= least_same]
    if not good:
        return None
    limit = TIE * min(one.ms for one in good)
    return min(
        (one for one in good if one.ms <= limit),
        key=lambda one: (-one.same, not CANDIDATES[one.name].is_exact, one.bytes),
    )


def _classes_of_model(model: keras.Model, images: np.ndarray, input_range: str | None):
    """Returns the classes (n,) predicted by the model itself, called as its user would."""
    network = keras_network(model, f"Model {model.name!r}", input_range)
    return np.concatenate([top1_of(network.run(image[np.newaxis])) for image in images])


def table(measured: Sequence[Measured]) -> list[Mapping[str, str]]:
    """Returns the rows of a readable table: the header, then one row per candidate."""
    header = ["", "ms a picture", "spread", "pictures/s", "MB", "MB of memory", "same class, %"]
    return [header] + [
        [
            one.name,
            f"{one.ms:.2f}",
            f"{one.spread:.0%}",
            f"{1000 / one.ms:,.0f}",
            f"{one.bytes / 1e6:.1f}",
            f"{one.memory / 1e6:,.0f}",
            f"{100 * one.same:.1f}",
        ]
        for one in measured
    ]
