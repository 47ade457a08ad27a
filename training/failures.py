"""Explains the errors of TensorFlow that end a run: what happened, and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from levit_common.regular_files import first_line

# What gRPC and collective operations raise once another worker is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class WorkerLostError(OSError):
    """Another worker of the same run is gone; the message says how to resume."""


class OutOfMemoryError(OSError):
    """The memory of the device is too small for a step; the message names settings that help."""


@contextlib.contextmanager
def other_workers_explained(strategy: tf.distribute.Strategy, folder: Path) -> Iterator[None]:
    """Turns TensorFlow's error about a lost worker into one that says what to do."""
    try:
        yield
    except _LOST as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        raise WorkerLostError(
            "Another worker of this run is gone, so this one stops too. Start all of them again "
            f"with the same command: they go on from the last checkpoint in {folder}. "
            f"({str(error).strip().splitlines()[0]})"
        ) from error


@contextlib.contextmanager
def memory_explained(batch_size: int, accumulate: int | None = None) -> Iterator[None]:
    """Turns TensorFlow's error about a lack of memory into one that says what to do.

    Args:
      batch_size: as configured.
      accumulate: as configured; None for a training that has no such setting.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        text = f"There is not enough memory for batch_size={batch_size}"
        if accumulate is None:
            text += ". A smaller --set=batch_size=... helps. That"
        else:
            text += (
                f" in {accumulate} {'part' if accumulate == 1 else 'parts'}. "
                f"--set=accumulate={2 * accumulate} passes the same batch in smaller parts; "
                "a smaller --set=batch_size=... helps, too. Either"
            )
        raise OutOfMemoryError(
            f"{text} is another configuration, so it needs another folder, or --overwrite. "
            f"{first_line(error)}"
        ) from error
