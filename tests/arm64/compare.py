"""Runs TFLite files here and on emulated ARM64 CPUs, and compares their logits.

    python -m tests.arm64.compare --machine=.venv-arm64/machine --files=.venv-arm64/files

A difference is the largest one over the largest logit of this machine. The answers of both must be
the same wherever the first two logits are further apart than twice the tolerance. The exit code is
0 if all files pass on all CPUs, and 1 otherwise. Takes three minutes on two cores: emulation shows
that results are right, and says nothing of speed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.arm64 import run
from tests.arm64.machine import CPUS, PICTURES, python_command

# Largest difference that passes. CPUs with float16 arithmetic compute fp16 files in it, sums
# included; quantised files differ by where a value that lies between two integers is rounded to.
TOLERANCES = {"fp32": 1e-5, "fp16": 5e-2, "dynamic": 5e-2, "int8": 1e-1, "int8_full": 1e-1}


class Comparison(NamedTuple):
    """One file on two CPUs.

    Attributes:
      recipe: how the file was made.
      relative: largest difference of a logit over the largest logit.
      same: pictures with the same answer.
      clear: pictures whose answer is beyond what the tolerance can change.
      same_clear: the same answers of those.
      pictures: how many there were.
      partitions: of XNNPACK, here and there.
    """

    recipe: str
    relative: float
    same: int
    clear: int
    same_clear: int
    pictures: int
    partitions: tuple[int, int]

    @property
    def passed(self) -> bool:
        """Whether it is within the tolerance, and clear answers are the same."""
        return self.relative <= TOLERANCES[self.recipe] and self.same_clear == self.clear


def compare(recipe: str, here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> Comparison:
    """Compares what `tests.arm64.run` found on two machines.

    Args:
      recipe: of the file.
      here: answers (n, classes) and partitions that are expected.
      there: those that are compared with them.
    """
    expected, found = here["answers"], there["answers"]
    largest = np.abs(expected).max()
    first, second = np.sort(expected, axis=1)[:, -1:-3:-1].T
    clear = first - second > 2 * TOLERANCES[recipe] * largest
    same = expected.argmax(axis=1) == found.argmax(axis=1)
    return Comparison(
        recipe=recipe,
        relative=float(np.abs(found - expected).max() / largest),
        same=int(same.sum()),
        clear=int(clear.sum()),
        same_clear=int((same & clear).sum()),
        pictures=len(expected),
        partitions=(int(here["partitions"]), int(there["partitions"])),
    )


def run_on(command: Sequence[str], file: Path, count: int) -> dict[str, np.ndarray]:
    """Runs `tests.arm64.run` with some Python on the first pictures beside a file.

    Raises:
      ValueError: it fails.
    """
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        answers = Path(scratch, "answers.npz")
        arguments = [run.__file__, file, file.parent / PICTURES, answers, count]
        result = subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise ValueError(f"{file.name} fails with {command[0]}:\n{result.stderr.strip()}")
        with np.load(answers) as found:
            return dict(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", type=Path, required=True, help="of tests.arm64.prepare")
    parser.add_argument("--files", type=Path, required=True, help="of tests.arm64.files")
    parser.add_argument("--pictures", type=int, default=8, help="how many (default: %(default)s)")
    parser.add_argument("--cpus", nargs="+", default=list(CPUS), choices=list(CPUS))
    parser.add_argument("--recipes", nargs="+", default=list(TOLERANCES), choices=list(TOLERANCES))
    options = parser.parse_args(arguments)
    try:
        return _compare_all(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _compare_all(options: argparse.Namespace) -> int:
    files = [options.files.resolve() / f"{recipe}.tflite" for recipe in options.recipes]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; python -m tests.arm64.files writes it.")
    if options.pictures < 1:
        raise ValueError(f"--pictures: expected at least 1. Received: {options.pictures}")
    emulated = {cpu: python_command(options.machine, cpu) for cpu in options.cpus}
    print(f"This CPU against emulated ones, {options.pictures} pictures.\n")
    print("| CPU | recipe | XNNPACK partitions | difference | tolerance | same answer | clear |")
    print("|---|---|---:|---:|---:|---:|---:|")
    passed = True
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        here = [pool.submit(run_on, [sys.executable], file, options.pictures) for file in files]
        there = {
            cpu: [pool.submit(run_on, command, file, options.pictures) for file in files]
            for cpu, command in emulated.items()
        }
        for cpu, answers in there.items():
            for recipe, a, b in zip(options.recipes, here, answers, strict=True):
                found = compare(recipe, a.result(), b.result())
                print(f"| {cpu} {_row(found)}", flush=True)
                passed = passed and found.passed
    print(f"\n{'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


def _row(found: Comparison) -> str:
    return (
        f"| {found.recipe} | {found.partitions[0]}, there {found.partitions[1]} "
        f"| {found.relative:.1e} | {TOLERANCES[found.recipe]:.0e} "
        f"| {found.same} of {found.pictures} | {found.same_clear} of {found.clear} |"
        f"{'' if found.passed else ' FAILED'}"
    )


if __name__ == "__main__":
    sys.exit(main())
