"""Damages each file of a stopped run in turn and lets it go on: no accident may cost a run.

    python -m tests.fault_injector [PATTERN]

Each time a copy of the folder has one file with flipped bytes, cut off, empty or missing. The run
must go on and end as the undisturbed one did, to the bit; or stop with a message and leave
everything as it is, which is right only where nothing is left to go on from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import functools
import io
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

from tests.support.training import workers
from tests.support.training.tiny_session import Killed, TinySession
from training.config import load_config, override
from training.log import read_csv_rows
from training.loop.session import Session, make_session
from training.run import load_config_data, prepare, train
from training.strategy import make_strategy

# Five steps an epoch, with everything that draws at random; checkpoints after 2, 4, 5, 6, 8, 10.
SETTINGS = (
    *("dataset=digits", "variant=LeViTNano", "epochs=2", "warmup_epochs=1", "batch_size=256"),
    *("drop_path=0.1", "mixup=0.8", "repeats=3", "ema_decay=0.9", "erasing=0.25"),
    *("clip_factor=0.01", "checkpoint_steps=2", "keep_checkpoints=3"),
)
KILLED_AFTER = 8


@dataclasses.dataclass
class Report:
    """What came of the faults.

    Attributes:
      equal: (file, damage) where the run ended as the undisturbed one.
      stopped: the same where it stopped with a message and changed nothing, with the message.
      lost: the same where it did neither, with what went wrong.
    """

    equal: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    stopped: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    lost: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        found = (*self.equal, *self.stopped, *self.lost)
        lines = [
            f"files damaged: {len({case[0] for case in found})}, in {len(found)} ways; runs equal "
            f"to the bit: {len(self.equal)}, stopped with a message: {len(self.stopped)}, lost: "
            f"{len(self.lost)}"
        ]
        lines += [f"stopped: {name} {kind}: {text}" for name, kind, text in self.stopped]
        return "\n".join(lines + [f"LOST: {name} {kind}: {text}" for name, kind, text in self.lost])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in (0, len(content) // 2, -1):
        content[place] ^= 0x55
    path.write_bytes(content)


def _flip_one(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[2 * len(content) // 3] ^= 0x01  # a digit becomes another digit
    path.write_bytes(content)


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "three bytes flipped": _flip,
    "one bit flipped": _flip_one,
    "cut off": _halve,
    "emptied": lambda path: path.write_bytes(b""),
    "removed": Path.unlink,
}


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their names in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def inject(
    stopped: Path,
    resume: Callable[[Path], None],
    difference: Callable[[Path], str],
    files: str = "*",
    kinds: Sequence[str] = tuple(DAMAGES),
) -> Report:
    """Damages each file in each way.

    Args:
      stopped: folder of a run that was stopped; it stays as it is.
      resume: goes on with the run in a folder.
      difference: what tells the end in a folder from that of the undisturbed run; "" for nothing.
      files: pattern for the names of the files.
      kinds: of damage.
    """
    report = Report()
    for name in fnmatch.filter(contents(stopped), files):
        for kind in kinds:
            with tempfile.TemporaryDirectory() as scratch:
                # Always of the same name, which messages and records contain.
                folder = Path(scratch, stopped.name)
                shutil.copytree(stopped, folder)
                DAMAGES[kind](folder / name)
                _classify(report, (name, kind), folder, resume, difference)
    return report


def _classify(report, case, folder, resume, difference) -> None:
    """Goes on with a damaged run, and notes what comes of it."""
    before = contents(folder)
    try:
        resume(folder)
    except (OSError, ValueError) as error:
        if contents(folder) == before:
            report.stopped.append((*case, str(error)))
        else:
            report.lost.append((*case, f"stopped, but changed files: {error}"))
        return
    if text := difference(folder):
        report.lost.append((*case, text))
    else:
        report.equal.append(case)
    done = len(report.equal) + len(report.stopped) + len(report.lost)
    print(f"{done}: {' '.join(case)}: {text or 'equal to the bit'}", file=sys.stderr, flush=True)


def difference(folder: Path, reference: Path) -> str:
    """What tells the ends of two runs apart: the variables, the log, the best network."""
    found, expected = workers.checkpoint(folder), workers.checkpoint(reference)
    names = [
        name
        for name in {*found, *expected}
        if name not in found
        or name not in expected
        or not np.array_equal(found[name], expected[name])
    ]
    texts = [f"other variables: {sorted(names)[:3]}"] * bool(names)
    if workers.rows(folder) != workers.rows(reference):
        texts.append("another log")
    rows = [dataclasses.asdict(row) for row in read_csv_rows(folder)]
    if rows != json.loads((folder / "log.json").read_text()):
        texts.append("log.csv disagrees with log.json")
    if not _same_best(folder, reference):
        texts.append("another best.keras")
    return ", ".join(texts)


def _same_best(*folders: Path) -> bool:
    """Whether the best networks have the same weights."""
    found = []
    for folder in folders:
        with zipfile.ZipFile(folder / "best.keras") as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
        weights: dict[str, bytes] = {}
        with h5py.File(content) as file:
            file.visititems(
                lambda name, item, weights=weights: (
                    weights.update({name: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
        found.append(weights)
    return found[0] == found[1]


class Interruptible(Session):
    """A session that compiles once, however often it goes on, and can be killed."""

    @functools.cached_property
    def kept(self):
        return {}

    @functools.cached_property
    def compiled(self):
        return super().train_step(), super().evaluators()

    def train_step(self):
        def step(*batch):
            if self.step == self.kept.get("killed_after"):
                raise Killed
            return self.compiled[0](*batch)

        return step

    def evaluators(self):
        return self.compiled[1]


def make_interruptible(settings: Sequence[str] = SETTINGS) -> Interruptible:
    """The session of settings over the config "digits"."""
    config = override(load_config("digits"), settings)
    made = make_session(config, load_config_data(config), make_strategy("default"))
    return Interruptible(**{f.name: getattr(made, f.name) for f in dataclasses.fields(made)})


def run_all(
    session: Interruptible | TinySession,
    scratch: Path,
    killed_after: int = KILLED_AFTER,
    files: str = "*",
    kinds: Sequence[str] = tuple(DAMAGES),
) -> Report:
    """Makes the undisturbed run and the stopped one, then injects faults into the latter.

    Args:
      session: to run, as often as it takes.
      scratch: an empty folder.
      killed_after: step after which the stopped run is killed.
      files: pattern for the names of the files to damage.
      kinds: of damage.
    """
    whole, stopped = scratch / "whole" / "run", scratch / "stopped" / "run"
    initial = [np.array(variable) for group in session.state.values() for variable in group]

    def go_on(folder: Path) -> None:
        train(session, folder, prepare(session, folder))

    def begin(folder: Path) -> None:
        variables = (variable for group in session.state.values() for variable in group)
        for variable, value in zip(variables, initial, strict=True):
            variable.assign(value)
        folder.mkdir(parents=True)
        go_on(folder)

    # The picture of the curve takes long, and nothing goes on from it.
    with mock.patch("training.run.learning_curve"):
        begin(whole)
        session.kept["killed_after"] = killed_after
        with contextlib.suppress(Killed):
            begin(stopped)
        del session.kept["killed_after"]
        return inject(stopped, go_on, lambda folder: difference(folder, whole), files, kinds)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):
            report = run_all(make_interruptible(), Path(folder), files=(sys.argv[1:] or ["*"])[0])
        print(report)
