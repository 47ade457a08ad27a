"""The process of a candidate. It does not start Keras, so memory and time are the candidate's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from converters.speed.candidates import CANDIDATES
from converters.speed.turns import Contender, environment, serve_turns
from levit_common.arrays import top1_of

MODULE = "converters.speed.worker"
_PICTURES = "pictures.npy"
_ANSWERS = "answers.npy"


def give_pictures(folder: Path, images: np.ndarray) -> None:
    """Writes float32 pictures (n, height, width, channels) to a folder, for the candidates."""
    np.save(folder / _PICTURES, images)


def start(name: str, folder: Path, threads: int, batch: int) -> Contender:
    """Starts the process of a candidate, which waits for its turns.

    Args:
      name: name of the candidate in `CANDIDATES`.
      folder: folder with its file and the pictures.
      threads: number of threads that it may use.
      batch: batch size.
    """
    return Contender(MODULE, [name, str(folder), str(threads), str(batch)], threads)


def answers(name: str, folder: Path, threads: int) -> np.ndarray:
    """Returns the classes (n,) that a candidate predicts for the pictures, in a separate process.

    Raises:
      ValueError: the candidate cannot be run; its own messages are on stderr.
    """
    command = [sys.executable, "-m", MODULE, name, str(folder), str(threads)]
    if subprocess.run(command, env=environment(legacy_keras=False), check=False).returncode:
        raise ValueError(f"{name}: cannot be run; see above")
    return np.load(folder / _ANSWERS)


def main(name: str, folder: str, threads: str, batch: str | None = None) -> None:
    """Runs a candidate: with `batch` it waits for turns, else it stores the predicted classes."""
    candidate = CANDIDATES[name]
    images = np.load(Path(folder, _PICTURES))
    run = candidate.run(Path(folder, candidate.file), images[: batch and int(batch)], int(threads))
    if batch is None:
        np.save(Path(folder, _ANSWERS), top1_of(run()))
    else:
        serve_turns(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
