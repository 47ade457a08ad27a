"""Damages several files of stopped runs at a time and lets them go on, in a process of its own.

    python -m tests.fuzz_checkpoints --seconds=600

A run goes on to the end of the undisturbed one, to the bit, or stops with one line and leaves every
file as it is: whatever of its files were damaged, cut off, lost, exchanged for each other or for
those of another time, or joined by others. Neither memory nor time runs out. What fails is kept in
`--keep`; --first=ROUND begins with the round that a failure names.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

from tests.fuzz_files import damaged, damaged_json

SECONDS = 60  # for one run of a few numbers; a machine may be busy
MEMORY = 4 << 30  # bytes of address space, beside what the process has
# Steps that the runs are stopped after; they save after 2, 4, 5, 6, ... of 15, three of them stay.
STOPPED_AFTER = (3, 7, 9, 11, 13)
EQUAL, STOPPED, LOST = "equal to the bit", "stopped with a message", "stopped after step"
LOG, _READY = "log", "ready"
_EXTRA = (
    *("checkpoints/ckpt-14.index", "checkpoints/ckpt-14.json", "checkpoints/ckpt-8_temp/part"),
    *("checkpoints/ckpt-99999999999999999999.index", "checkpoints/ckpt-8.data-00001-of-00002"),
    *("checkpoints/checkpoint", "checkpoints/best/ckpt-1.index", "checkpoints/notes.txt"),
    *(".log.json.x/log.json", "run.lock", "stop", "core.1", "tensorboard/events", "result.json"),
)


def damage(folder: Path, others: dict[str, Path], rng: random.Random) -> list[str]:
    """Damages some files of a run.

    Args:
      folder: of the run.
      others: folders of the same run at other times, by what to call these.
      rng: chooses.

    Returns:
      What was done.
    """
    done = []
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4, 6))):
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        path = folder / (name := rng.choice(names))
        content = path.read_bytes()
        kind = rng.randrange(10)
        if kind < 2:
            path.write_bytes(damaged(content, rng))
            done.append(f"damaged {name}")
        elif kind == 2 and name.endswith(".json"):
            with contextlib.suppress(ValueError, AttributeError, IndexError):
                path.write_bytes(damaged_json(content, rng))
            done.append(f"another value in {name}")
        elif kind == 3:
            path.write_bytes(content[: rng.randrange(len(content) + 1)])
            done.append(f"cut off {name}")
        elif kind < 6:
            path.unlink()
            done.append(f"removed {name}")
        elif kind == 6:
            other = rng.choice(names)
            path.write_bytes((folder / other).read_bytes())
            (folder / other).write_bytes(content)
            done.append(f"exchanged {name} and {other}")
        elif kind == 7:
            other = rng.choice(_similar(name, names))
            path.write_bytes((folder / other).read_bytes())
            done.append(f"{name} is a copy of {other}")
        elif kind == 8:
            time_of, other = rng.choice(sorted(others.items()))
            with contextlib.suppress(FileNotFoundError):
                path.write_bytes((other / name).read_bytes())
            done.append(f"{name} is that of the run {time_of}")
        else:
            extra = folder / (other := rng.choice(_EXTRA))
            extra.parent.mkdir(exist_ok=True)
            extra.write_bytes(rng.choice((b"", damaged(content, rng), content)))
            done.append(f"{other} is there, like {name}")
        if not any(folder.rglob("*")):
            break
    return done


def _similar(name: str, names: list[str]) -> list[str]:
    """Those that end in the same way."""
    return [other for other in names if other.rpartition(".")[2] == name.rpartition(".")[2]]


class Runs:
    """The undisturbed run, and the same one stopped after some steps.

    Args:
      scratch: an empty folder.
    """

    def __init__(self, scratch: Path):
        self._scratch = scratch
        self.whole = self._run("whole")
        self.stopped = {step: self._run(str(step), step) for step in STOPPED_AFTER}
        times = {f"stopped after step {step}": folder for step, folder in self.stopped.items()}
        self._others = {**times, "at its end": self.whole}

    def _run(self, name: str, killed_after: int | None = None) -> Path:
        from tests.support.training.tiny_session import Killed

        # Always of the same name, which messages and records contain.
        folder = self._scratch / name / "run"
        folder.mkdir(parents=True)
        with contextlib.suppress(Killed):
            go_on(folder, killed_after)
        return folder

    def round(self, number: int, keep: Path) -> str:
        """Damages a run and lets it go on; keeps its folder, as it was before, if that is wrong.

        Returns:
          `EQUAL`, `STOPPED`, or what is wrong.
        """
        from tests import fault_injector

        rng = random.Random(number)
        step = rng.choice(STOPPED_AFTER)
        with tempfile.TemporaryDirectory(dir=self._scratch) as place:
            folder = Path(place, "run")
            shutil.copytree(self.stopped[step], folder)
            done = ", ".join(damage(folder, self._others, rng))
            shutil.copytree(folder, found := Path(place, "found"))
            before = fault_injector.contents(folder)
            try:
                go_on(folder)
                text = fault_injector.difference(folder, self.whole)
            except (OSError, ValueError) as error:  # what `levit_common.cli` takes for a user's
                text = ""
                if fault_injector.contents(folder) != before:
                    text = f"stopped, but changed files: {error}"
                elif "\n" in str(error).strip():
                    text = f"stopped with more than a line: {error}"
                else:
                    return STOPPED
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
            if not text:
                return EQUAL
            shutil.copytree(found, keep / str(number), dirs_exist_ok=True)
            return f"{LOST} {step}; {done}: {text}"


def go_on(folder: Path, killed_after: int | None = None) -> None:
    """Begins a run of a few numbers, or goes on with it, perhaps until it is killed."""
    from tests.support.training.tiny_session import TinySession
    from training import run

    session = TinySession()
    session.kept["killed_after"] = killed_after
    # The picture of the curve takes long, and nothing goes on from it.
    with mock.patch("training.run.learning_curve"):
        run.train(session, folder, run.prepare(session, folder))


def work(answers: Connection, first: int, keep: Path) -> None:
    """Goes through the rounds, one after another, and sends what comes of each; never ends."""
    output = os.open(keep / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    with tempfile.TemporaryDirectory() as scratch:
        runs = Runs(Path(scratch))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answers.send(_READY)
        for number in itertools.count(first):
            os.truncate(output, 0)
            answers.send(runs.round(number, keep))


class Worker:
    """A process that goes through rounds.

    Args:
      first: round to begin with.
      keep: folder for what fails.
    """

    def __init__(self, first: int, keep: Path):
        context = multiprocessing.get_context("spawn")
        self._answers, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=work, args=(theirs, first, keep), daemon=True)
        self._process.start()
        theirs.close()
        found = self.answer(10 * SECONDS)  # the runs to be damaged are made first
        if found != _READY:
            raise RuntimeError(f"{found} {(keep / LOG).read_text()[-3000:]}")

    def answer(self, seconds: float = SECONDS) -> str:
        """What comes of the next round, which may be the end of the process."""
        try:
            return self._answers.recv() if self._answers.poll(seconds) else "no end in time"
        except EOFError:
            self._process.join()
            return f"its process ended with {self._process.exitcode}"

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


def main() -> int:
    """Runs the command; 1 if a run was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0, help="round to begin with")
    parser.add_argument("--keep", default="runs/fuzz_checkpoints", help="folder for what fails")
    options = parser.parse_args()
    keep = Path(options.keep)
    keep.mkdir(parents=True, exist_ok=True)
    counts: collections.Counter = collections.Counter()
    number, worker = options.first, Worker(options.first, keep)
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        found = worker.answer()
        is_lost = found not in (EQUAL, STOPPED)
        counts["lost" if is_lost else found] += 1
        if is_lost:
            print(f"round {number}: {found}", flush=True)
        number += 1
        if is_lost and not found.startswith(LOST):
            worker.stop()
            worker = Worker(number, keep)
    worker.stop()
    print(f"{number - options.first} runs: ", end="")
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return 1 if counts["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
