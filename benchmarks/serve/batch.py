"""The pipeline of serving.batch beside a plain loop, and what is left after it was killed.

    python -m benchmarks.serve.batch --model=levit.tflite --images=FOLDER [--count=20000]

The loop is `serving.edge` over one half of the pictures in each of two processes; the pipeline has
two processes, too, and both have one thread of LiteRT in each. Whole commands are timed, starts
included. The pictures are those of the folder, again and again under other names.

Then the pipeline runs over pictures of which some are cut off, is killed when half of its shards
are there, and is started again: every picture has to be in its output exactly once, and every
damaged one in the dead letters. `make test-batch` makes the environment.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from benchmarks.support import options, results
from levit_common import cli

_PROCESSES = 2
_SHARDS = 64
_CUT_OFF = 400  # bytes of a damaged picture that are left


def started(python: str, words: Sequence[str], output: Path) -> subprocess.Popen:
    """Starts a command of ours in a group of processes of its own; it prints into a file."""
    with open(f"{output}.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(
            [python, "-m", *words], stdout=log, stderr=log, start_new_session=True
        )


def timed_loop(python: str, model: str, pictures: Path, folder: Path) -> float:
    """Seconds of `serving.edge` in two processes, which have a part of the pictures each."""
    parts = [folder / f"part{n}" for n in range(_PROCESSES)]
    for part in parts:
        part.mkdir()
    for n, path in enumerate(sorted(pictures.iterdir())):
        (parts[n % _PROCESSES] / path.name).hardlink_to(path)
    start = time.perf_counter()
    running = [
        started(python, ["serving.edge", f"--model={model}", "--threads=1", str(part)], part)
        for part in parts
    ]
    for process, part in zip(running, parts, strict=True):
        finished(process, part)
    seconds = time.perf_counter() - start
    for part in parts:
        shutil.rmtree(part)
    return seconds


def pipeline(python: str, model: str, pictures: Path, output: Path) -> subprocess.Popen:
    """Starts `serving.batch`."""
    words = ["serving.batch", f"--model={model}", f"--shards={_SHARDS}"]
    words += [f"--input={pictures}/*.jpg", f"--output={output}"]
    words += ["--direct_running_mode=multi_processing", f"--direct_num_workers={_PROCESSES}"]
    return started(python, words, output)


def finished(process: subprocess.Popen, output: Path) -> None:
    """Waits for a command; raises RuntimeError with what it printed if it failed."""
    if process.wait():
        printed = Path(f"{output}.log").read_text(encoding="utf-8")[-2000:]
        raise RuntimeError(f"a command ended with exit code {process.returncode}: {printed}")


def names_in(folder: Path, pattern: str) -> collections.Counter:
    """How often each picture is in the files of lines of JSON."""
    return collections.Counter(
        os.path.basename(json.loads(line)["name"])
        for path in folder.glob(pattern)
        for line in path.read_text(encoding="utf-8").splitlines()
    )


def make_pictures(images: Sequence[Path], folder: Path, count: int, damaged: int) -> list[str]:
    """Makes a folder of `count` pictures, the last `damaged` of which are cut off."""
    folder.mkdir()
    for n in range(count - damaged):
        shutil.copy(images[n % len(images)], folder / f"{n:06}.jpg")
    for n in range(damaged):
        start = images[n % len(images)].read_bytes()[:_CUT_OFF]
        (folder / f"damaged{n:06}.jpg").write_bytes(start)
    return sorted(map(str, folder.iterdir()))


def killed_and_finished(
    python: str, model: str, pictures: Path, paths: list[str], output: Path
) -> tuple:
    """Shards at the kill; pictures and dead letters at the end, and whether each is there once."""
    process = pipeline(python, model, pictures, output)
    while len(list(output.glob("part-*"))) < _SHARDS // 2:
        if process.poll() is not None:
            finished(process, output)
            raise RuntimeError("the pipeline was over before it could be killed: raise --count")
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shards = len(list(output.glob("part-*")))
    finished(pipeline(python, model, pictures, output), output)
    good, bad = names_in(output, "part-*"), names_in(output / "bad", "*")
    expected = set(map(os.path.basename, paths))
    is_once = set(good) | set(bad) == expected and sum((good + bad).values()) == len(expected)
    is_sorted = all(name.startswith("damaged") for name in bad) and not any(
        name.startswith("damaged") for name in good
    )
    return shards, len(good), len(bad), "yes" if is_once and is_sorted else "NO"


def main() -> None:
    args = flags.FLAGS
    images = sorted(path for path in Path(args.images).rglob("*") if path.is_file())
    model = str(Path(args.model).resolve())
    python = str(Path(args.python).absolute())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pictures = folder / "pictures"
        make_pictures(images, pictures, args.count, damaged=0)
        seconds = {"serving.edge": timed_loop(python, model, pictures, folder)}
        start = time.perf_counter()
        finished(pipeline(python, model, pictures, folder / "answers"), folder / "answers")
        seconds["serving.batch"] = time.perf_counter() - start
        rows = [
            (name, args.count, of_it, args.count / of_it, seconds["serving.edge"] / of_it)
            for name, of_it in seconds.items()
        ]
        columns = ("what", "pictures", "seconds", "pictures a second", "of the loop's speed")
        results.publish("batch", columns, rows, args.output)
        pictures = folder / "some damaged"
        paths = make_pictures(images, pictures, args.count, args.damaged)
        found = killed_and_finished(python, model, pictures, paths, folder / "killed")
    columns = ("shards at the kill", "pictures", "dead letters", "each exactly once")
    results.publish("batch_killed", columns, [found], args.output)


def define_flags() -> None:
    flags.DEFINE_string("model", None, "A .tflite file of a classifier.")
    flags.DEFINE_string("images", None, "A folder of JPEG files, with folders in it.")
    flags.DEFINE_integer("count", 20_000, "How many pictures.", lower_bound=_SHARDS)
    flags.DEFINE_integer("damaged", 500, "How many of them are cut off in the second part.")
    flags.DEFINE_string("python", ".venv-beam/bin/python", "Python of an environment with Beam.")
    options.define_output()
    flags.mark_flags_as_required(["model", "images"])


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
