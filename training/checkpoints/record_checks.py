"""Checks that a run resumes with the same configuration, networks, classes, pictures, versions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from levit_common.picture_files import printable
from training.checkpoints.record import DifferentRunError, Record, read_files
from training.config import Config
from training.data.sources import FileEntry, fingerprint_of

# What the absence of a field in an earlier version means, if that is not the field's default.
_BEFORE_IT_EXISTED = {"ema_warmup": False}
_FOLDER = "imagefolder:"
# Fields that change no number of a run.
_HOUSEKEEPING = {"checkpoint_epochs", "checkpoint_steps", "keep_checkpoints", "strict"}
_SHOWN = 3  # names of pictures or classes in a message


def check_same(folder: Path, earlier: Record, now: Record, changed_pictures: bool) -> list[str]:
    """Checks that a run resumes with the inputs that it began with.

    Args:
      folder: the folder of the run.
      earlier: the inputs that the run began with.
      now: the inputs that it would resume with.
      changed_pictures: whether to accept other pictures of the same classes.

    Returns:
      Messages about differences that are harmless or accepted.

    Raises:
      DifferentRunError: something else differs; the message says what.
    """
    if earlier.class_names is not None and earlier.class_names != now.class_names:
        raise DifferentRunError(
            f"--output: {folder} holds a run with other classes: "
            f"{_class_difference(earlier.class_names, now.class_names)}. The labels would mean "
            "something else. Put the class folders back as they were, or choose another folder; "
            f"--set=init_from={folder / 'best.keras'} begins there with the weights of this run."
        )
    lines = _check_pictures(folder, earlier, now, changed_pictures)
    lines += _check_config(folder, earlier, now)
    _check_files(folder, earlier.digests, now)
    if earlier.class_names is None:
        lines.append("This run is of an earlier version, which did not note its pictures.")
    return lines + [
        f"{package} was {earlier.versions[package]} when this run began and is {version} now: the "
        "numbers may differ in their last digits."
        for package, version in now.versions.items()
        if earlier.versions.get(package, version) != version
    ]


def _check_config(folder: Path, earlier: Record, now: Record) -> list[str]:
    before = {field.name: field.default for field in dataclasses.fields(Config)}
    before = {**json.loads(json.dumps(before)), **_BEFORE_IT_EXISTED}
    different, harmless = [], []
    for field in sorted(set(now.config) | set(earlier.config)):
        old, new = earlier.config.get(field, before.get(field)), now.config.get(field)
        if old != new and _is_harmless(field, old, new, earlier):
            harmless.append(f"{field} was {old!r} when this run began and is {new!r} now.")
        elif old != new:
            different.append(f"{field} is {old!r} there and {new!r} here")
    if different:
        raise DifferentRunError(
            f"--output: {folder} holds a run of another configuration, which this one cannot go "
            f"on from: {'; '.join(different)}. Choose another folder, or replace that run with "
            "--overwrite."
        )
    return harmless


def _is_harmless(field: str, old: Any, new: Any, earlier: Record) -> bool:
    """Returns whether a field that differs leaves the numbers of a run as they are."""
    if field == "dataset" and earlier.pictures is not None:
        # What counts are the pictures, which are recorded without their folder and checked.
        return all(str(value).startswith(_FOLDER) for value in (old, new))
    if field == "teacher_cache":  # another folder; answers that are not kept may be rounded
        return None not in (old, new)
    return field in _HOUSEKEEPING


def _check_files(folder: Path, earlier: dict[str, str], now: Record) -> None:
    # Earlier versions recorded no digests.
    changed = [
        f"{field}={now.config[field]}"
        for field, digest in now.digests.items()
        if earlier.get(field, digest) != digest
    ]
    if changed:
        raise DifferentRunError(
            f"--output: {folder} holds a run that began with other contents of "
            f"{', '.join(changed)}. Put them back as they were, choose another folder, or replace "
            "that run with --overwrite."
        )


def _check_pictures(folder: Path, earlier: Record, now: Record, accepted: bool) -> list[str]:
    if earlier.pictures is None or earlier.pictures == now.pictures:
        return []
    listed = read_files(folder)
    found = []
    for part in sorted(set(earlier.pictures) | set(now.pictures), reverse=True):
        old, new = (record.pictures.get(part) for record in (earlier, now))
        if old != new:
            old_files, new_files = listed.get(part), now.files.get(part)
            # The list belongs to the same pictures as the fingerprint, unless it is damaged.
            if old and old_files and fingerprint_of(old_files) == old["fingerprint"] and new_files:
                found.append(f"{part}: {_file_difference(old_files, new_files)}")
            else:
                counts = [str(entry["count"] if entry else 0) for entry in (old, new)]
                found.append(f"{part}: {counts[0]} pictures before, {counts[1]} now, not the same")
    what = "; ".join(found)
    if accepted and earlier.steps_per_epoch == now.steps_per_epoch:
        return [f"Other pictures than before, as --changed_pictures allows: {what}."]
    if earlier.steps_per_epoch == now.steps_per_epoch:
        advice = "--changed_pictures goes on with those that are there now"
    else:
        advice = (
            f"An epoch had {earlier.steps_per_epoch} steps and would have {now.steps_per_epoch}: "
            "this run cannot go on so"
        )
    raise DifferentRunError(
        f"--output: {folder} holds a run with other pictures. {what}. Put them back as they were, "
        f"or choose another folder; --set=init_from={folder / 'best.keras'} begins there with the "
        f"weights of this run. {advice}."
    )


def _file_difference(earlier: Sequence[FileEntry], now: Sequence[FileEntry]) -> str:
    old, new = ({entry.name: entry for entry in entries} for entries in (earlier, now))
    both = [name for name in old if name in new]
    kinds = {
        "gone": [name for name in old if name not in new],
        "new": [name for name in new if name not in old],
        "of another class": [name for name in both if old[name].label != new[name].label],
        "of another size": [name for name in both if old[name].size != new[name].size],
    }
    found = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names]
    return f"of {len(earlier)} pictures {', '.join(found) or 'the order is another'}"


def _class_difference(earlier: Sequence[str], now: Sequence[str]) -> str:
    gone = [repr(name) for name in earlier if name not in now]
    new = [repr(name) for name in now if name not in earlier]
    found = [f"{len(gone)} gone ({_first(gone)})"] if gone else []
    found += [f"{len(new)} new ({_first(new)})"] if new else []
    if not found:
        pairs = zip(earlier, now, strict=True)
        label = next(label for label, (old, other) in enumerate(pairs) if old != other)
        found = [f"label {label} was {earlier[label]!r} and is {now[label]!r}"]
    return f"{len(earlier)} there and {len(now)} here, {', '.join(found)}"


def _first(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(printable, names[:_SHOWN])) + ", ..." * (len(names) > _SHOWN)
