"""Checkpoints of a run: everything that the next step depends on, written all or nothing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from training.variables import raw, unique_name

CHECKPOINTS, BEST, OTHER_WORKERS = "checkpoints", "best", "workers"


class CheckpointError(OSError):
    """A checkpoint cannot be written or read; the message names what is left and what to do."""


class Checkpoints:
    """The checkpoints of a run in a folder: the last few, and the best.

    Args:
      folder: of the run.
      state: every variable by group: all of them are saved by name, and restored by name. The step
        is among them.
      step: the one that counts steps.
      keep: how many of the last ones are kept.
      worker: number of this worker. All of several workers have to save, since saving may have to
        collect values; those but the first do so into a folder of their own.
    """

    def __init__(
        self,
        folder: Path,
        state: dict[str, Iterable[keras.Variable | tf.Variable]],
        step: tf.Variable,
        keep: int,
        worker: int = 0,
    ):
        self._checkpoint = tf.train.Checkpoint(
            **{group: _by_name(variables) for group, variables in state.items()}
        )
        self._step = step
        own = folder if worker == 0 else folder / OTHER_WORKERS / str(worker)

        def manager(path, kept):
            return tf.train.CheckpointManager(
                self._checkpoint, str(path / CHECKPOINTS), max_to_keep=kept
            )

        self._last = manager(own, keep)
        self._best = tf.train.CheckpointManager(
            self._checkpoint, str(own / CHECKPOINTS / BEST), max_to_keep=1
        )
        self._source = folder / CHECKPOINTS

    @property
    def latest(self) -> str | None:
        """Path of the newest checkpoint of the run, None where there is none."""
        return tf.train.latest_checkpoint(str(self._source))

    def restore(self) -> bool:
        """Sets all variables to the newest checkpoint.

        Returns:
          Whether there is one.

        Raises:
          CheckpointError: it cannot be read, or it is of other variables.
        """
        path = self.latest
        if path is None:
            return False
        try:
            status = self._checkpoint.restore(path)
            status.assert_consumed()
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"{path}: damaged, or of another network. Remove it to go on from the one before, "
                f"or choose another folder. ({str(error).strip().splitlines()[0]})"
            ) from error
        return True

    def save(self, best: bool = False) -> None:
        """Writes a checkpoint; those that are there stay valid until it is complete.

        Args:
          best: whether it is the best so far too.

        Raises:
          CheckpointError: it cannot be written; the message names the one that is still good.
        """
        step = int(self._step.numpy())
        for manager in (self._last, self._best) if best else (self._last,):
            with self._explained(manager, step):
                manager.save(checkpoint_number=step)

    @contextlib.contextmanager
    def _explained(self, manager: tf.train.CheckpointManager, step: int) -> Iterator[None]:
        """Cleans up after a checkpoint that cannot be written, and says what is left."""
        before = self._last.latest_checkpoint
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            if manager.latest_checkpoint is None or not manager.latest_checkpoint.endswith(
                f"-{step}"
            ):
                for path in Path(manager.directory).glob(f"ckpt-{step}[._]*"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            kept = f"The last good one is {before}." if before else "There is none from before."
            raise CheckpointError(
                f"A checkpoint cannot be written to {self._last.directory}. {kept} Free some disk "
                "space and give the same command again. "
                f"({str(error).strip().splitlines()[0]})"
            ) from error


def _by_name(variables: Iterable[keras.Variable | tf.Variable]) -> dict[str, tf.Variable]:
    """TensorFlow's variables by unique name."""
    named = {}
    for variable in variables:
        name = unique_name(variable)
        if name in named:
            raise ValueError(f"Two variables are named {name}.")
        named[name] = raw(variable)
    return named
