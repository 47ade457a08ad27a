"""The inputs of a run: written into its folder, and kept with every checkpoint."""

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
    """The folder holds a run with other inputs; the message says what differs and what to do."""


@dataclasses.dataclass(frozen=True)
class Record:
    """The inputs of a run and the history of its starts.

    Attributes:
      config: all fields of the configuration, as JSON values.
      class_names: names of the classes in the order of the labels; None if an earlier version did
        not record them.
      pictures: for each part, "training" and "held-out", its number of pictures ("count") and a
        "fingerprint" of its list of files; None if an earlier version did not record them.
      steps_per_epoch: number of steps per epoch, needed to count epochs; None as above.
      versions: versions of the packages that the numbers depend on.
      strategy: name of the distribution strategy; a run may resume with another one.
      attempts: one entry for each start of the run: the step that it "began_after_step", the
        "checkpoint" that it resumed from, the checkpoints that were "passed_over", and the
        versions.
      on_hub: addresses on the Hugging Face hub, with the commit, of the networks that the
        configuration names, by field: "init_from", "teacher".
      digests: checksums of the local files that the configuration names and a resumed run loads
        again, by field: "init_from", "teacher", "teacher_classes"; empty if an earlier version did
        not record them.
      files: list of files of each part; empty if the pictures are not files. Not part of the JSON.
    """

    config: dict[str, Any]
    class_names: list[str] | None = None
    pictures: dict[str, dict[str, Any]] | None = None
    steps_per_epoch: int | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    strategy: str = "default"
    attempts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    on_hub: dict[str, str] = dataclasses.field(default_factory=dict)
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Sequence[FileEntry]] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Returns the record as a JSON-serialisable dict."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "files"
        }

    def begun(self, restored: Restored | None, step: int, passed_over: Sequence[str]) -> Record:
        """Returns the record with one more attempt.

        Args:
          restored: the checkpoint that it resumes from, if any.
          step: the step of that checkpoint.
          passed_over: checkpoints that could not be used, with reasons.
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
    config: Config,
    data: Dataset,
    steps_per_epoch: int,
    strategy: str = "default",
    on_hub: Mapping[str, str] | None = None,
    digests: Mapping[str, str] | None = None,
) -> Record:
    """Makes the record of a run that begins or resumes; for the arguments, see `Record`."""
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
        on_hub=dict(on_hub or {}),
        digests=dict(digests or {}),
        files={name: part.entries for name, part in data.parts.items() if part.entries},
    )


def write(folder: Path, record: Record) -> None:
    """Writes the files of a record, replacing existing ones."""
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
    """Reads the record of the run in a folder.

    The newest checkpoint contains it, protected by a checksum. If there is no checkpoint yet, or
    only those of an earlier version, it is read from the files of the folder.

    Returns:
      The record; None if there is neither.

    Raises:
      DifferentRunError: the configuration in the folder is damaged or is not that of a run.
    """
    notes = manifest.newest_notes(checkpoint_folders(folder)) or {}
    rest = _read_run(folder)
    if "run" in notes:
        record = _of_json(notes["run"])
        # Attempts that ended before their first checkpoint are recorded in the folder only.
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


def recorded_addresses(folder: Path, config: Config) -> dict[str, str]:
    """Returns the addresses on the hub that the run in a folder began with, to resume with them.

    Args:
      folder: the folder of the run.
      config: the configuration now; a field that is another than in the run is left out.

    Raises:
      DifferentRunError: see `read`.
    """
    earlier = read(folder)
    if earlier is None:
        return {}
    same = [
        field for field in earlier.on_hub if earlier.config.get(field) == getattr(config, field)
    ]
    return {field: earlier.on_hub[field] for field in same}


def _read_run(folder: Path) -> dict[str, Any]:
    """Returns the entries of a run's file other than its configuration; {} if it is unreadable."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        if isinstance(content, dict) and _is_record(content):
            return content
    return {}


def _is_record(content: dict[str, Any]) -> bool:
    """Whether the content of a run's file, which has no checksum, has the expected types."""
    kinds = {"class_names": str, "attempts": dict}
    lists = all(
        isinstance(content.get(name) or [], list)
        and all(isinstance(item, kind) for item in content.get(name) or [])
        for name, kind in kinds.items()
    )
    pictures, versions = content.get("pictures") or {}, content.get("versions") or {}
    by_field = [content.get(name) or {} for name in ("on_hub", "digests")]
    return (
        lists
        and isinstance(content.get("steps_per_epoch") or 0, int)
        and isinstance(versions, dict)
        and all(isinstance(texts, dict) for texts in by_field)
        and all(isinstance(text, str) for texts in by_field for text in texts.values())
        and isinstance(pictures, dict)
        and all(
            isinstance(part, dict) and {"count", "fingerprint"} <= set(part)
            for part in pictures.values()
        )
    )


def _of_json(content: dict[str, Any]) -> Record:
    """Makes a record from the JSON of this or an earlier version of the package."""
    names = [field.name for field in dataclasses.fields(Record) if field.name != "files"]
    found = {name: content[name] for name in names if name in content}
    config = dict(found.pop("config"))
    strategy = config.pop("strategy", "default")
    return Record(**{"strategy": strategy, **found, "config": config})


def read_files(folder: Path) -> dict[str, list[FileEntry]]:
    """Reads the list of files of the run in a folder; returns {} if it is unreadable."""
    found: dict[str, list[FileEntry]] = {}
    try:
        with gzip.open(folder / PICTURES_FILE, "rt", encoding="ascii") as file:
            for line in file:
                part, *entry = json.loads(line)
                found.setdefault(part, []).append(FileEntry(*entry))
    except (OSError, EOFError, ValueError, TypeError, RecursionError):
        return {}
    return found
