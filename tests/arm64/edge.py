"""Runs `python -m serving.edge` here and on emulated ARM64 CPUs, and compares what it says.

    python -m tests.arm64.edge --machine=.venv-arm64/machine --files=.venv-arm64/files

There are numpy, Pillow and LiteRT, and this repository's code. For each picture the same class must
be the likeliest, where it is by more than twice the tolerance. The exit code is 0 if so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.arm64.machine import CPUS, PICTURES, python_command

ROOT = Path(__file__).resolve().parents[2]
# Of a probability, on a CPU that computes fp32 files as this one does.
TOLERANCE = 0.02


def run_edge(command: Sequence[str], model: Path, pictures: Sequence[Path]) -> list[dict]:
    """The lines that `serving.edge` prints with some Python.

    Raises:
      ValueError: it fails.
    """
    arguments = ["-m", "serving.edge", f"--model={model}", "--threads=1", *map(str, pictures)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise ValueError(f"serving.edge fails with {command[0]}:\n{done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def agree(here: dict, there: dict) -> bool:
    """Whether two lines say the same of a picture, as far as the tolerance goes."""
    probabilities = [
        {entry["index"]: entry["probability"] for entry in x["top"]} for x in (here, there)
    ]
    first, second = list(probabilities[0].values())[:2]
    near = all(
        abs(value - probabilities[1].get(index, value)) <= TOLERANCE
        for index, value in probabilities[0].items()
    )
    clear = first - second > 2 * TOLERANCE
    return near and (not clear or next(iter(probabilities[0])) == next(iter(probabilities[1])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", type=Path, required=True, help="of tests.arm64.prepare")
    parser.add_argument("--files", type=Path, required=True, help="of tests.arm64.files")
    parser.add_argument("--model", default="fp32.tflite", help="of the files (%(default)s)")
    parser.add_argument("--pictures", type=int, default=2, help="how many (default: %(default)s)")
    parser.add_argument("--cpus", nargs="+", default=list(CPUS), choices=list(CPUS))
    options = parser.parse_args(arguments)
    try:
        return _compare(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _compare(options: argparse.Namespace) -> int:
    model = (options.files / options.model).resolve()
    passed = True
    with tempfile.TemporaryDirectory(dir=options.files.resolve()) as scratch:
        pictures = []
        for n, pixels in enumerate(np.load(options.files / PICTURES)[: options.pictures]):
            pictures.append(Path(scratch, f"{n}.png"))
            Image.fromarray(pixels).save(pictures[-1])
        here = run_edge([sys.executable], model, pictures)
        print("| CPU | picture | here | there | ms there, emulated |\n|---|---|---|---|---:|")
        for cpu in options.cpus:
            there = run_edge(python_command(options.machine, cpu), model, pictures)
            for a, b in zip(here, there, strict=True):
                same = agree(a, b)
                passed = passed and same
                told = (f"{x['top'][0]['class']} {x['top'][0]['probability']:.4f}" for x in (a, b))
                row = f"| {cpu} | {Path(a['name']).name} | {' | '.join(told)} | {b['ms']:,.0f} |"
                print(row + ("" if same else " FAILED"), flush=True)
    print(f"\n{'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
