"""Checkpoints of a run: everything that the next step depends on, written all or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from levit_common.regular_files import check_regular
from training.checkpoints import manifest
from training.checkpoints.manifest import DamagedError
from training.optim.variables import raw, unique_name

CHECKPOINTS, BEST, OTHER_WORKERS = "checkpoints", "best", "workers"
# TensorFlow's own list of checkpoints, which runs of earlier versions have. It is not looked at: a
# list can be damaged, or out of date.
TENSORFLOW_LIST = "checkpoint"
_GRAPH, _COUNTER = "_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# What earlier versions did not save; it follows from the log.
_LATER = f"loop/ships_average{_VALUE}"
_SHOWN = 3


class CheckpointError(OSError):
    """A checkpoint cannot be written or used; the message names what is left and what to do."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """The checkpoint that a run goes on from.

    Attributes:
      path: what the names of its files begin with.
      step: that it was saved after.
      notes: what `Checkpoints.save` was given; empty where there is no manifest that can be read.
      remark: what is to be said of it, such as that it carries no checksums; or empty.
    """

    path: Path
    step: int
    notes: dict[str, Any]
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class _Listed:
    """A checkpoint of which there is any file.

    Attributes:
      prefix: what their names begin with.
      step: that is in them.
      manifest: None where it is damaged or missing, which `reason` says.
    """

    prefix: Path
    step: int
    manifest: manifest.Manifest | None
    reason: str = ""


class Checkpoints:
    """The checkpoints of a run in a folder: the last few, and the best.

    They are found by looking at the folder, and checked before they are used.

    Attributes:
      passed_over: of the newest ones that `restore` could not use, each with the reason.

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
        """Path of the newest checkpoint that was restored or saved here, None before that."""
        return str(self._good) if self._good else None

    def restore(self, check: Callable[[Restored], None] = lambda _: None) -> Restored | None:
        """Sets all variables to the newest checkpoint that is whole, be it one of the last or best.

        Those whose manifest is damaged or missing come after all others: what a run notes with a
        checkpoint is in there.

        Args:
          check: raises DamagedError where what belongs to a checkpoint is not there.

        Returns:
          That checkpoint; None where a checkpoint was never completed.

        Raises:
          CheckpointError: there are checkpoints, and none can be used, or the newest that is whole
            is of another network. Nothing in the folder has changed.
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
        """Whether there is a checkpoint of a step that is whole."""
        return any(self._is_whole(listed) for listed in self._found() if listed.step == step)

    def restore_step(self, step: int) -> bool:
        """Sets all variables to a checkpoint of a step; says whether there is one that is whole."""
        for listed in self._found():
            if listed.step == step:
                with contextlib.suppress(DamagedError, CheckpointError):
                    self._restore(listed)
                    return True
        return False

    def _found(self) -> list[_Listed]:
        """All checkpoints of which there is any file, the newest first."""
        found = [(step, folder) for folder in self._sources for step in manifest.steps(folder)]
        found.sort(key=lambda place: place[0], reverse=True)
        return [_listed(step, manifest.prefix_of(folder, step)) for step, folder in found]

    def save(self, best: bool = False, notes: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint; those that are there stay valid until it is complete.

        Args:
          best: whether it is the best so far too.
          notes: what else the run goes on from, as JSON takes it.

        Raises:
          CheckpointError: it cannot be written; the message names the one that is still good.
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
        """Sets all variables to a checkpoint, or none of them.

        Raises:
          DamagedError: it is not whole.
          CheckpointError: it is of another network.
        """
        self._check_files(listed)
        with _damage_named():
            # All variables that there are were looked at.
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
        """Checks a checkpoint against its manifest, or by reading it; raises as `_restore`."""
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
        """Names of the variables in a checkpoint, which are those that are restored."""
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
        more = f"; and {len(differences) - _SHOWN} more" * (len(differences) > _SHOWN)
        raise CheckpointError(
            f"{prefix}: not damaged, but of another network, other classes or another optimizer: "
            f"{'; '.join(differences[:_SHOWN])}{more}. Choose another folder, or begin anew with "
            "--overwrite."
        )

    def _prune(self, folder: Path, step: int, keep: int) -> None:
        """Removes the checkpoints that are no longer needed, now that of a step is complete."""
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
        """Cleans up after a checkpoint that cannot be written, and says what is left."""
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
    """Where the last checkpoints of a run lie, and where the best."""
    return folder / CHECKPOINTS, folder / CHECKPOINTS / BEST


def has_checkpoints(folder: Path) -> bool:
    """Whether there is any file of a checkpoint of a run."""
    return any(manifest.steps(place) for place in checkpoint_folders(folder))


def _listed(step: int, prefix: Path) -> _Listed:
    try:
        found = manifest.read(prefix)
    except DamagedError as error:
        return _Listed(prefix, step, None, str(error))
    return _Listed(prefix, step, found, "" if found else "it carries no checksums")


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    """Turns what TensorFlow and the system say of a file into a DamagedError."""
    try:
        yield
    except CheckpointError:
        raise
    except (tf.errors.OpError, OSError, ValueError, IndexError) as error:
        raise DamagedError(f"damaged ({_first_line(error)})") from error


def _is_unfinished(prefix: Path) -> bool:
    """Whether a process was ended while it wrote a checkpoint: no loss, as it never was one.

    The index comes next to last, and the manifest last. Earlier versions wrote no manifest, but a
    list of checkpoints.
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
    """How TensorFlow calls a variable in a checkpoint."""
    return f"{group}/{name.replace('.', '..').replace('/', '.S')}{_VALUE}"


def _by_name(variables: Iterable[keras.Variable | tf.Variable]) -> dict[str, tf.Variable]:
    """TensorFlow's variables by unique name."""
    named = {}
    for variable in variables:
        name = unique_name(variable)
        if name in named:
            raise ValueError(f"Two variables are named {name}.")
        named[name] = raw(variable)
    return named
