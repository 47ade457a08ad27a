"""A cache of a teacher's answers in files: one per epoch and worker of a run.

The pictures of a step are a pure function of the run's inputs, so the answers can be stored and
read in a later epoch, by another student or after a restart. Source of the idea: TinyViT, arXiv
2207.10666, section 3.1.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from levit_common.files import atomic_path, naming
from levit_common.json_files import write_json
from levit_lite.opening.archives import DAMAGE

DESCRIPTION_FILE = "teacher_cache.json"
_FORMAT = 1
_TEACHER_FILE = "teacher_file"  # in the description, for messages
_READ_AHEAD = 2  # epochs in memory


class TeacherCacheError(ValueError):
    """A cache is damaged, or has answers for other inputs than those of the run."""


class TopLogits:
    """The highest of a teacher's logits, and the average of the others.

    Args:
      classes: number of the student's classes.
      top: number of logits to keep; None for all.
    """

    def __init__(self, classes: int, top: int | None):
        self.classes = classes
        self.top = None if top is None or top >= classes else top

    def parts(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the stored parts of logits (batch, classes)."""
        if self.top is None:
            return {"logits": logits}
        values, indices = tf.math.top_k(logits, self.top)
        is_top = tf.reduce_any(tf.one_hot(indices, self.classes, True, False, dtype=tf.bool), 1)
        others = tf.where(is_top, tf.constant(-np.inf, tf.float32), logits)
        # Spread evenly: exp(rest) * (classes - top) is the total of the others.
        rest = tf.reduce_logsumexp(others, axis=1) - np.log(self.classes - self.top)
        return {"logits": values, "classes": tf.cast(indices, tf.int32), "rest": rest}

    def whole(self, parts: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Reconstructs logits (batch, classes) from their stored parts."""
        if self.top is None:
            return parts["logits"]
        batch = tf.shape(parts["rest"])[0]
        everywhere = tf.repeat(parts["rest"][:, None], self.classes, axis=1)
        rows = tf.repeat(tf.range(batch)[:, None], self.top, axis=1)
        places = tf.stack([rows, parts["classes"]], axis=2)  # (batch, top, 2)
        return tf.tensor_scatter_nd_update(everywhere, places, parts["logits"])

    def __call__(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the logits with all but the highest replaced by their average."""
        return self.whole(self.parts(logits))

    def shapes(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Returns the shape and type of what is stored for one picture, by name."""
        if self.top is None:
            return {"logits": ((self.classes,), np.float32)}
        top = (self.top,)
        return {"logits": (top, np.float32), "classes": (top, np.int32), "rest": ((), np.float32)}


class TeacherCache:
    """A folder of stored answers.

    Args:
      folder: the folder; it is created.
      made_with: everything that the answers depend on, as JSON values.
      teacher_file: name of the teacher's file, for messages.
      kept: the logits to store.
      steps: number of steps per epoch.
      epochs: number of stored epochs; a longer run repeats their pictures.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        made_with: Mapping[str, Any],
        kept: TopLogits,
        *,
        steps: int,
        epochs: int,
        teacher_file: str = "",
    ):
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise TeacherCacheError(f"teacher_cache={folder}: a file; expected a folder.")
        self.kept = kept
        self.epochs = epochs
        self._made_with = {"format": _FORMAT, **json.loads(json.dumps(made_with))}
        self._teacher_file = teacher_file
        self._steps = steps

    def prepare(self) -> None:
        """Records what the answers depend on, or checks that it is the same as recorded.

        Raises:
          TeacherCacheError: the answers are for other inputs, or the folder holds other files.
          OSError: the folder cannot be written to.
        """
        path = self.folder / DESCRIPTION_FILE
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / "description.lock", wait=True):
            if not path.exists():
                if any(self.folder.glob("*.npz")):
                    raise TeacherCacheError(
                        f"teacher_cache={self.folder}: there are .npz files and no "
                        f"{DESCRIPTION_FILE}, so nobody knows what they are made with. Choose "
                        "another folder."
                    )
                write_json(path, {**self._made_with, _TEACHER_FILE: self._teacher_file})
                return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            before, here = found.pop(_TEACHER_FILE, ""), self._made_with
            different = [key for key in {**found, **here} if found.get(key) != here.get(key)]
        except (OSError, ValueError, TypeError) as error:
            raise TeacherCacheError(f"{path}: cannot be read: {error}") from error
        if different:
            files = (before, self._teacher_file) if "teacher" in different else ("", "")
            named = "the teacher was {} and is {}; ".format(*files) if all(files) else ""
            listed = named + "; ".join(
                f"{key} was {found.get(key)!r} and is {here.get(key)!r}" for key in different
            )
            raise TeacherCacheError(
                f"teacher_cache={self.folder}: made with something else: {listed}. Choose another "
                "folder, or the same settings."
            )

    def path(self, epoch: int, worker: int, workers: int) -> Path:
        """Returns the file of an epoch."""
        return self.folder / f"epoch-{epoch:05d}.worker-{worker}-of-{workers}.npz"

    def missing(self, worker: int, workers: int) -> Iterator[tuple[int, str]]:
        """Yields the epochs without an intact file, and the reason: "" if there is no file."""
        for epoch in range(self.epochs):
            if not self.path(epoch, worker, workers).exists():
                yield epoch, ""
                continue
            try:
                self.read(epoch, worker, workers)
            except TeacherCacheError as error:
                yield epoch, str(error)

    @contextlib.contextmanager
    def claimed(self, epoch: int, worker: int, workers: int) -> Iterator[bool]:
        """Yields whether this process may fill an epoch, for the duration of the block."""
        path = self.path(epoch, worker, workers).with_suffix(".lock")
        with _locked(path, wait=False) as is_mine:
            yield is_mine

    def write(
        self, epoch: int, arrays: Mapping[str, np.ndarray], worker: int, workers: int
    ) -> None:
        """Stores the answers of an epoch.

        Args:
          epoch: index of the epoch.
          arrays: parts as in `TopLogits.parts`, of shape (steps, rows, ...).
          worker: index of the worker to which the rows belong.
          workers: number of workers.
        """
        path = self.path(epoch, worker, workers)
        with atomic_path(path, overwrite=True) as temporary, naming(path):
            np.savez(temporary, **arrays, digest=_digest(arrays))

    def read(self, epoch: int, worker: int, workers: int) -> dict[str, np.ndarray]:
        """Reads the arrays that `write` stored.

        Raises:
          TeacherCacheError: the file is missing, damaged, or has other shapes.
        """
        path = self.path(epoch, worker, workers)
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in self.kept.shapes()}
                digest = str(archive["digest"])
        except (*DAMAGE, ValueError, KeyError) as error:
            raise TeacherCacheError(f"{path}: torn or damaged: {error}") from error
        if digest != _digest(arrays):
            raise TeacherCacheError(f"{path}: damaged: its checksum is not that of its values")
        for name, (shape, dtype) in self.kept.shapes().items():
            array = arrays[name]
            if len(array) != self._steps or array.shape[2:] != shape or array.dtype != dtype:
                raise TeacherCacheError(
                    f"{path}: {name} has the shape {array.shape}; expected {self._steps} steps"
                )
        return arrays

    def dataset(
        self, first_step: int, steps: int, worker: int, workers: int, rows: int
    ) -> tf.data.Dataset:
        """Makes a dataset of the logits for the pictures of each step.

        Args:
          first_step: number of the first step.
          steps: number of the step to stop before.
          worker: index of this worker.
          workers: number of workers.
          rows: pictures per step of one worker.

        Returns:
          A dataset of (rows, classes) float32.
        """
        read = functools.lru_cache(maxsize=_READ_AHEAD)(self.read)
        shapes = self.kept.shapes()

        def look_up(step: np.ndarray) -> list[np.ndarray]:
            epoch, number = divmod(int(step), self._steps)
            arrays = read(epoch % self.epochs, worker, workers)
            return [np.ascontiguousarray(arrays[name][number]) for name in shapes]

        def logits(step: tf.Tensor) -> tf.Tensor:
            types = [dtype for _, dtype in shapes.values()]
            found = tf.numpy_function(look_up, [step], types)
            parts = {
                name: tf.ensure_shape(array, [rows, *shape])
                for array, (name, (shape, _)) in zip(found, shapes.items(), strict=True)
            }
            return self.kept.whole(parts)

        return tf.data.Dataset.range(first_step, steps).map(logits)


def digest_of(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file, or of all files of a directory and their names."""
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        whole.update(str(file.relative_to(path)).encode() if path.is_dir() else b"")
        with open(file, "rb") as opened:
            whole.update(hashlib.file_digest(opened, "sha256").digest())
    return whole.hexdigest()


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    whole = hashlib.sha256()
    for name in sorted(arrays):
        whole.update(name.encode())
        whole.update(np.ascontiguousarray(arrays[name]).tobytes())
    return whole.hexdigest()


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Yields whether this process holds a lock of the system, which ends with the process."""
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
