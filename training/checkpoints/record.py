"""What a run is made of: written into its folder, and kept with every checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import levit_tf
from levit_common.files import atomic_path
from levit_common.json_files import write_json
from levit_tf.pictures.run_pictures import PICTURES_FILE
from training.checkpoints import manifest
from training.checkpoints.checkpoint import Restored, checkpoint_folders, has_checkpoints
from training.config import Config
from training.data import Dataset
from training.data.sources import FileEntry

CONFIG_FILE, RUN_FILE = "config.json", "run.json"


class DifferentRunError(FileExistsError):
    """The folder holds a run of something else; the message says what differs and what to do."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run is made of.

    Attributes:
      config: all fields of the configuration, as JSON has them.
      class_names: in the order of the labels; None where an earlier version noted none.
      pictures: by part, "training" and "held-out": how many in "count", and a "fingerprint" of the
        list of files; None where an earlier version noted none.
      steps_per_epoch: which counting epochs depends on; None as above.
      versions: of the packages that the numbers depend on.
      strategy: its name; a run may go on under another.
      attempts: one entry for each time the run was started: the step that it "began_after_step",
        the "checkpoint" that it went on from, those that were "passed_over", and the versions.
      files: by part, the list of files; empty where pictures are no files. Not part of the JSON.
    """

    config: dict[str, Any]
    class_names: list[str] | None = None
    pictures: dict[str, dict[str, Any]] | None = None
    steps_per_epoch: int | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    strategy: str = "default"
    attempts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    files: Mapping[str, Sequence[FileEntry]] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The record as JSON takes it."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "files"
        }

    def begun(self, restored: Restored | None, step: int, passed_over: Sequence[str]) -> Record:
        """The record with one more attempt.

        Args:
          restored: the checkpoint that it goes on from.
          step: of that.
          passed_over: checkpoints that could not be used, with the reasons.
        """
        attempt = {
            "began_after_step": step,
            "checkpoint": restored and restored.path.name,
            "passed_over": list(passed_over),
            "strategy": self.strategy,
            "versions": self.versions,
        }
        return dataclasses.replace(self, attempts=[*self.attempts, attempt])


def make_record(
    config: Config, data: Dataset, steps_per_epoch: int, strategy: str = "default"
) -> Record:
    """The record of a run that begins or goes on."""
    return Record(
        config=json.loads(json.dumps(dataclasses.asdict(config))),  # tuples become lists
        class_names=list(data.class_names),
        pictures={
            name: {"count": part.count, "fingerprint": part.fingerprint}
            for name, part in data.parts.items()
        },
        steps_per_epoch=steps_per_epoch,
        versions={
            "levit_tf": levit_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        strategy=strategy,
        files={name: part.entries for name, part in data.parts.items() if part.entries},
    )


def write(folder: Path, record: Record) -> None:
    """Writes the files of a record, replacing those that are there."""
    content = record.as_json()
    config, strategy = content.pop("config"), content.pop("strategy")
    write_json(folder / CONFIG_FILE, {**config, "strategy": strategy})
    write_json(folder / RUN_FILE, content)
    if record.files:
        with (
            atomic_path(folder / PICTURES_FILE, overwrite=True) as temporary,
            gzip.open(temporary, "wt", encoding="ascii") as file,
        ):
            for part, entries in record.files.items():
                file.writelines(f"{json.dumps([part, *entry])}\n" for entry in entries)


def read(folder: Path) -> Record | None:
    """Reads what the run in a folder is made of.

    The newest checkpoint knows it, with a checksum; where there is none yet, or one of an earlier
    version, the files of the folder are all there is.

    Returns:
      The record; None where there is neither.

    Raises:
      DifferentRunError: the folder's configuration is damaged, or is that of something else.
    """
    notes = manifest.newest_notes(checkpoint_folders(folder)) or {}
    rest = _read_run(folder)
    if "run" in notes:
        record = _of_json(notes["run"])
        # Those that ended before their first checkpoint are in the folder only.
        attempts = max(record.attempts, rest.get("attempts") or [], key=len)
        return dataclasses.replace(record, attempts=attempts)
    path = folder / CONFIG_FILE
    if not path.exists() and not has_checkpoints(folder):
        return None
    known = {field.name for field in dataclasses.fields(Config)}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"expected an object, found a {type(config).__name__}")
        if not known & set(config):
            raise ValueError("it has none of the fields of a configuration")
    except (OSError, ValueError, RecursionError) as error:
        raise DifferentRunError(
            f"--output: {path} is damaged, missing or no run's ({error}), and no checkpoint says "
            "what the run was made of. Put it back from a copy, choose another folder, or begin "
            "anew with --overwrite."
        ) from error
    return _of_json({**rest, "config": config})


def _read_run(folder: Path) -> dict[str, Any]:
    """What is in a run's file beside its configuration; empty if it cannot be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        if isinstance(content, dict) and _is_record(content):
            return content
    return {}


def _is_record(content: dict[str, Any]) -> bool:
    """Whether what nothing holds a checksum of has the types that it should have."""
    kinds = {"class_names": str, "attempts": dict}
    lists = all(
        isinstance(content.get(name) or [], list)
        and all(isinstance(item, kind) for item in content.get(name) or [])
        for name, kind in kinds.items()
    )
    pictures, versions = content.get("pictures") or {}, content.get("versions") or {}
    return (
        lists
        and isinstance(content.get("steps_per_epoch") or 0, int)
        and isinstance(versions, dict)
        and isinstance(pictures, dict)
        and all(
            isinstance(part, dict) and {"count", "fingerprint"} <= set(part)
            for part in pictures.values()
        )
    )


def _of_json(content: dict[str, Any]) -> Record:
    """The record of whichever version of this package."""
    names = [field.name for field in dataclasses.fields(Record) if field.name != "files"]
    found = {name: content[name] for name in names if name in content}
    config = dict(found.pop("config"))
    strategy = config.pop("strategy", "default")
    return Record(**{"strategy": strategy, **found, "config": config})


def read_files(folder: Path) -> dict[str, list[FileEntry]]:
    """The list of files of a run that is in its folder; empty if it cannot be read."""
    found: dict[str, list[FileEntry]] = {}
    try:
        with gzip.open(folder / PICTURES_FILE, "rt", encoding="ascii") as file:
            for line in file:
                part, *entry = json.loads(line)
                found.setdefault(part, []).append(FileEntry(*entry))
    except (OSError, EOFError, ValueError, TypeError, RecursionError):
        return {}
    return found
