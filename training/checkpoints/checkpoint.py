"""Checkpoints of a run: all that the next step depends on, saved completely or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from levit_common.regular_files import check_regular
from levit_common.spelling import shortened
from training.checkpoints import manifest
from training.checkpoints.manifest import DamagedError
from training.optim.variables import raw, unique_name

CHECKPOINTS, BEST, OTHER_WORKERS = "checkpoints", "best", "workers"
# TensorFlow's own list of checkpoints, which runs of earlier versions have. It is ignored, since a
# list can be damaged or out of date.
TENSORFLOW_LIST = "checkpoint"
_GRAPH, _COUNTER = "_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# Earlier versions did not save this; its value follows from the log.
_LATER = f"loop/ships_average{_VALUE}"
_SHOWN = 3


class CheckpointError(OSError):
    """A checkpoint cannot be written or used; the message says what remains and what to do."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """The checkpoint that a run resumes from.

    Attributes:
      path: the common prefix of its files.
      step: the step after which it was saved.
      notes: the notes given to `Checkpoints.save`; empty without a readable manifest.
      remark: a remark to show to the user, such as that it carries no checksums; may be empty.
    """

    path: Path
    step: int
    notes: dict[str, Any]
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class _Listed:
    """A checkpoint of which at least one file exists.

    Attributes:
      prefix: the common prefix of its files.
      step: the step in its file names.
      manifest: its manifest; None if it is damaged or missing, and then `reason` says why.
    """

    prefix: Path
    step: int
    manifest: manifest.Manifest | None
    reason: str = ""


class Checkpoints:
    """The checkpoints of a run in a folder: the last few, and the best one.

    They are found by listing the folder, and checked before they are used.

    Attributes:
      passed_over: the newest checkpoints that `restore` could not use, each with the reason.

    Args:
      folder: the folder of the run.
      state: all variables by group. Each is saved and restored by name. The step must be among
        them.
      step: the variable that counts steps.
      keep: number of most recent checkpoints to keep.
      worker: index of this worker. All workers have to save, since saving may have to collect
        values; all but the first save into a folder of their own.
    """

    def __init__(
        self,
        folder: Path,
        state: dict[str, Iterable[keras.Variable | tf.Variable]],
        step: tf.Variable,
        keep: int,
        worker: int = 0,
    ):
        groups = {group: _by_name(variables) for group, variables in state.items()}
        self._checkpoint = tf.train.Checkpoint(**groups)
        self._expected = {
            _key(group, name): (tuple(variable.shape), variable.dtype)
            for group, variables in groups.items()
            for name, variable in variables.items()
        }
        self._step = step
        self._step_key = next(
            _key(group, name)
            for group, variables in groups.items()
            for name, variable in variables.items()
            if variable is raw(step)
        )
        self._keep = keep
        own = folder if worker == 0 else folder / OTHER_WORKERS / str(worker)
        self._last, self._best = own / CHECKPOINTS, own / CHECKPOINTS / BEST
        self._sources = checkpoint_folders(folder)
        self._good: Path | None = None
        self._completed: set[Path] = set()
        self._unusable: set[Path] = set()
        self.passed_over: list[str] = []

    @property
    def latest(self) -> str | None:
        """Path of the newest checkpoint that was restored or saved here; None before that."""
        return str(self._good) if self._good else None

    def restore(self, check: Callable[[Restored], None] = lambda _: None) -> Restored | None:
        """Restores all variables from the newest intact checkpoint, including the best one.

        Checkpoints whose manifest is damaged or missing come last, because the manifest contains
        the notes of the run.

        Args:
          check: a function that raises DamagedError if something that belongs to a checkpoint is
            missing.

        Returns:
          That checkpoint; None if no checkpoint was ever completed.

        Raises:
          CheckpointError: there are checkpoints but none can be used, or the newest intact one
            belongs to another network. The folder is unchanged.
        """
        found = self._found()
        reasons = {listed.prefix: listed.reason for listed in found if listed.reason}
        lost = False
        for listed in sorted(found, key=lambda listed: listed.manifest is None):
            prefix = listed.prefix
            try:
                restored = self._restore(listed)
                check(restored)
            except DamagedError as error:
                reasons[prefix] = str(error)
                self._unusable.add(prefix)
                lost = lost or not _is_unfinished(prefix)
                continue
            newer = [other.prefix for other in found if other.step > listed.step]
            self.passed_over = [f"{path}: {reasons[path]}" for path in newer]
            self._good = prefix
            return restored
        self.passed_over = [f"{prefix}: {reason}" for prefix, reason in reasons.items()]
        if lost:
            raise CheckpointError(
                f"{self._sources[0]}: none of the checkpoints there can be used, so the run stops "
                f"and leaves everything as it is: {'; '.join(self.passed_over)}. Put one back from "
                "a copy, choose another folder, or begin anew with --overwrite."
            )
        return None

    def has(self, step: int) -> bool:
        """Whether there is an intact checkpoint of this step."""
        return any(self._is_whole(listed) for listed in self._found() if listed.step == step)

    def restore_step(self, step: int) -> bool:
        """Restores all variables from an intact checkpoint of this step; False if there is none."""
        for listed in self._found():
            if listed.step == step:
                with contextlib.suppress(DamagedError, CheckpointError):
                    self._restore(listed)
                    return True
        return False

    def _found(self) -> list[_Listed]:
        """Lists all checkpoints of which at least one file exists, newest first."""
        found = [(step, folder) for folder in self._sources for step in manifest.steps(folder)]
        found.sort(key=lambda place: place[0], reverse=True)
        return [_listed(step, manifest.prefix_of(folder, step)) for step, folder in found]

    def save(self, best: bool = False, notes: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint; existing ones stay valid until it is complete.

        Args:
          best: whether it is also the best so far.
          notes: other values to resume with; must be JSON-serialisable.

        Raises:
          CheckpointError: it cannot be written; the message names the last good one.
        """
        step = int(self._step.numpy())
        places = [(self._last, self._keep), (self._best, 1)]
        for folder, keep in places if best else places[:1]:
            prefix = manifest.prefix_of(folder, step)
            with self._explained(prefix):
                folder.mkdir(parents=True, exist_ok=True)
                manifest.remove_manifest(prefix)
                self._checkpoint.write(str(prefix))
                manifest.write(prefix, notes or {})
                self._completed.add(prefix)
                if folder == self._last:
                    self._good = prefix
                self._unusable.discard(prefix)
                self._prune(folder, step, keep)

    def _restore(self, listed: _Listed) -> Restored:
        """Restores all variables from a checkpoint, or none of them.

        Raises:
          DamagedError: it is not intact.
          CheckpointError: it belongs to another network.
        """
        self._check_files(listed)
        with _damage_named():
            # _check_files has already checked every variable.
            self._checkpoint.read(str(listed.prefix)).expect_partial()
        if listed.manifest is not None:
            return Restored(listed.prefix, listed.step, listed.manifest.notes)
        remark = f"{listed.reason}; all of it could be read"
        return Restored(listed.prefix, listed.step, {}, remark)

    def _is_whole(self, listed: _Listed) -> bool:
        try:
            self._check_files(listed)
        except (DamagedError, CheckpointError):
            return False
        return True

    def _check_files(self, listed: _Listed) -> None:
        """Checks a checkpoint by its manifest or else by reading it; raises as `_restore`."""
        prefix = listed.prefix
        if listed.manifest is not None:
            manifest.check(prefix, listed.manifest)
        else:
            if not prefix.with_name(f"{prefix.name}.index").exists():
                raise DamagedError("it was not completed, or its index is missing")
            with _damage_named():
                for path in manifest.files(prefix):
                    check_regular(path)
        with _damage_named():
            reader = tf.train.load_checkpoint(str(prefix))
            found = self._check_variables(prefix, reader)
            if listed.manifest is None:
                for name in found:  # TensorFlow checks each value
                    reader.get_tensor(name)
            step = int(reader.get_tensor(self._step_key))
        if step != listed.step:
            raise DamagedError(f"it is of step {step}, and named after another")

    def _check_variables(self, prefix: Path, reader: Any) -> Iterable[str]:
        """Checks that the checkpoint has exactly the variables to restore; returns their names."""
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        found = {
            name: (tuple(shape), types[name])
            for name, shape in shapes.items()
            if name not in (_GRAPH, _COUNTER)
        }
        known = {name: of for name, of in self._expected.items() if name in found or name != _LATER}
        if found == known:
            return found
        differences = [
            f"{name.removesuffix(_VALUE)} is {_text(found.get(name))} there and "
            f"{_text(self._expected.get(name))} here"
            for name in sorted(set(found) | set(known))
            if found.get(name) != known.get(name)
        ]
        raise CheckpointError(
            f"{prefix}: not damaged, but of another network, other classes or another optimizer: "
            f"{shortened(differences, _SHOWN, '; ')}. Choose another folder, or begin anew with "
            "--overwrite."
        )

    def _prune(self, folder: Path, step: int, keep: int) -> None:
        """Removes checkpoints that are no longer needed, now that the one of `step` is complete."""
        found = manifest.steps(folder)
        usable = [
            at
            for at in found
            if at <= step and manifest.prefix_of(folder, at) not in self._unusable
        ]
        for at in set(found) - set(usable[:keep]):
            manifest.remove(manifest.prefix_of(folder, at))
        manifest.remove_unfinished(folder)
        (folder / TENSORFLOW_LIST).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self, prefix: Path) -> Iterator[None]:
        """Cleans up if a checkpoint cannot be written; the error says what is left."""
        before = self.latest
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            if prefix.parent.is_dir() and prefix not in self._completed:
                with contextlib.suppress(OSError):
                    manifest.remove(prefix)
                    manifest.remove_unfinished(prefix.parent)
            kept = f"The last good one is {before}." if before else "There is none from before."
            raise CheckpointError(
                f"A checkpoint cannot be written to {prefix.parent}. {kept} Free some disk space, "
                "or make the folder writable, and give the same command again, without "
                f"--overwrite. ({_first_line(error)})"
            ) from error


def checkpoint_folders(folder: Path) -> tuple[Path, Path]:
    """Returns the folder of a run's last checkpoints and the folder of its best one."""
    return folder / CHECKPOINTS, folder / CHECKPOINTS / BEST


def has_checkpoints(folder: Path) -> bool:
    """Whether the run has any file of a checkpoint."""
    return any(manifest.steps(place) for place in checkpoint_folders(folder))


def _listed(step: int, prefix: Path) -> _Listed:
    try:
        found = manifest.read(prefix)
    except DamagedError as error:
        return _Listed(prefix, step, None, str(error))
    return _Listed(prefix, step, found, "" if found else "it carries no checksums")


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    """Turns TensorFlow's and the system's file errors into a DamagedError."""
    try:
        yield
    except CheckpointError:
        raise
    except (tf.errors.OpError, OSError, ValueError, IndexError) as error:
        raise DamagedError(f"damaged ({_first_line(error)})") from error


def _is_unfinished(prefix: Path) -> bool:
    """Whether a process ended while writing this checkpoint, so that it was never complete.

    The index is written next to last, and the manifest last. Earlier versions wrote a list of
    checkpoints instead of a manifest.
    """
    ending = [path for path in manifest.files(prefix) if path.name.endswith(".index")]
    if ending or (prefix.parent / TENSORFLOW_LIST).exists():
        return False
    try:
        return manifest.read(prefix) is None
    except DamagedError:
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _text(variable: tuple[tuple[int, ...], tf.DType] | None) -> str:
    if variable is None:
        return "missing"
    shape, kind = variable
    return f"{kind.name} {list(shape)}"


def _key(group: str, name: str) -> str:
    """Returns the key under which TensorFlow stores a variable in a checkpoint."""
    return f"{group}/{name.replace('.', '..').replace('/', '.S')}{_VALUE}"


def _by_name(variables: Iterable[keras.Variable | tf.Variable]) -> dict[str, tf.Variable]:
    """Maps unique names to TensorFlow's variables."""
    named = {}
    for variable in variables:
        name = unique_name(variable)
        if name in named:
            raise ValueError(f"Two variables are named {name}.")
        named[name] = raw(variable)
    return named
