"""Instructions of an inference on emulated ARM64 CPUs, as a Markdown table.

    make test-arm64  # which makes the machine and the files
    python -m benchmarks.arm64_instructions --machine=.venv-arm64/machine --files=.venv-arm64/files

A stand-in for the time on a phone where there is none: it knows what a CPU's instructions save, and
nothing of caches, memory and what runs side by side. LeViT-128S, one thread. The start is taken off
by running one picture and then several. Counts vary by less than 1 %. Needs a C compiler; takes two
minutes.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from absl import flags

from benchmarks.support import options, results
from benchmarks.support.pictures import draw_bars
from levit_common import cli
from tests.arm64 import run
from tests.arm64.compare import TOLERANCES
from tests.arm64.machine import CPUS, PICTURES, python_command

PLUGIN_SOURCE = Path(__file__).with_suffix(".c")


def build_plugin(folder: Path) -> Path:
    """Compiles QEMU's plugin that counts.

    Raises:
      ValueError: the compiler refuses.
      FileNotFoundError: there is none.
    """
    plugin = folder / "instructions.so"
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2", "-o", plugin, PLUGIN_SOURCE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError(f"{PLUGIN_SOURCE.name} does not compile:\n{result.stderr.strip()}")
    return plugin


def instructions(command: list[str], file: Path, pictures: int) -> float:
    """Instructions for one picture.

    Args:
      command: Python on the emulated CPU, with the plugin.
      file: a TFLite file, with pictures beside it.
      pictures: how many more than one are run.
    """
    counts = []
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        for count in (1, 1 + pictures):
            arguments = [run.__file__, file, file.parent / PICTURES, f"{scratch}/answers", count]
            result = subprocess.run(
                [*command, *map(str, arguments)], capture_output=True, text=True, check=False
            )
            found = re.search(r"^instructions: (\d+)$", result.stderr, re.MULTILINE)
            if result.returncode or not found:
                raise ValueError(f"{file.name} fails on the emulated CPU:\n{result.stderr}")
            counts.append(int(found[1]))
    return (counts[1] - counts[0]) / pictures


def main() -> None:
    args = flags.FLAGS
    files = Path(args.files).resolve()
    with tempfile.TemporaryDirectory() as folder:
        plugin = build_plugin(Path(folder))
        rows = []
        for cpu in CPUS:
            command = python_command(args.machine, cpu, "-plugin", str(plugin))
            found = {
                recipe: instructions(command, files / f"{recipe}.tflite", args.pictures)
                for recipe in TOLERANCES
            }
            rows += [
                (cpu, recipe, round(count / 1e6), count / found["fp32"])
                for recipe, count in found.items()
            ]
    columns = ("CPU", "recipe", "million instructions", "relative to fp32")
    output = results.publish("arm64_instructions", columns, rows, args.output)
    ratios = {f"{cpu}, {recipe}": ratio for cpu, recipe, _, ratio in rows}
    draw_bars(output / "arm64_instructions.png", ratios, "instructions, of fp32's")


def define_flags() -> None:
    flags.DEFINE_string("machine", None, "Folder that tests.arm64.prepare made.", required=True)
    flags.DEFINE_string("files", None, "Folder that tests.arm64.files made.", required=True)
    flags.DEFINE_integer(
        "pictures", 2, "Pictures that are counted, beside the first.", lower_bound=1
    )
    options.define_output()


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
