"""Measures what a model can become on this machine, and chooses.

Every candidate runs in a process of its own, pinned to the cores that it may use, and they take
turns; what each answers is held against what the user's own model says on the same pictures.
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

# So many pictures, at most, are put to all candidates; the first ones are what is timed.
COMPARED = 64
# As quick as the quickest: what is closer to the model, or smaller, is better then.
TIE = 1.05


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was found out about a candidate.

    Attributes:
      name: of `CANDIDATES`.
      ms: milliseconds for a picture, median over the turns.
      spread: distance of the quartiles over the median.
      same: share of the pictures that it puts into the class that the model puts them into.
      bytes: of the file.
      memory: most bytes of its process.
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
      images: RGB 0..255, (n, height, width, channels), at least `batch` of them: they calibrate
        int8, and the answers are compared on them.
      folder: for the files.
      threads: that a candidate may use.
      batch: pictures in a call.
      turns: of each candidate.
      seconds: of a turn, about.
      input_range: see `converters.deploy.deploy_graph`.
      names: some of `CANDIDATES`; by default all that the target has and that are installed.

    Returns:
      The quickest first.

    Raises:
      ValueError: `model` is no classifier, there are too few pictures or too few cores, or a
        converter refuses the model.
    """
    if class_count(model) is None:
        raise ValueError(
            f"Model {model.name!r} is no classifier; what is compared are classes. Give one with a "
            "softmax, a sigmoid or a dense layer at its end."
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
    with held_stderr():  # runtimes tell of their delegates and threads
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
    """The candidates of a target whose runtimes are installed."""
    return [name for name, c in CANDIDATES.items() if target in c.places and c.is_installed]


def missing_for(target: str) -> list[str]:
    """Packages of a target's candidates that are not installed."""
    candidates = CANDIDATES.values()
    return sorted({c.package for c in candidates if target in c.places and not c.is_installed})


def choose(measured: Sequence[Measured], least_same: float) -> Measured | None:
    """The quickest of those that answer as the model does; None where none of them does.

    Of those within 5 % of the quickest the one that answers most as the model does, and of equal
    ones the smallest.

    Args:
      measured: of all candidates.
      least_same: share of answers that must be the model's own.
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
    """(n,) what the model itself says, called as its user calls it."""
    network = keras_network(model, f"Model {model.name!r}", input_range)
    return np.concatenate([top1_of(network.run(image[np.newaxis])) for image in images])


def table(measured: Sequence[Measured]) -> list[Mapping[str, str]]:
    """Rows for people: the header, then a row for each."""
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
