"""A benchmark's other processes: one for each contender, which take turns, or write their files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import flags

from benchmarks.support.options import command_name
from converters.speed import turns
from converters.speed.turns import Contender, Times


def start(cores: int, legacy_keras: bool = False, **settings: object) -> Contender:
    """Starts this benchmark once more, for one contender, which then waits for its turn.

    Args:
      cores: how many it is pinned to.
      legacy_keras: whether it is written for Keras 2.
      **settings: its flags.
    """
    return Contender(command_name(), _flags(settings), cores, legacy_keras)


def race(contenders: Mapping[Hashable, Contender]) -> dict[Hashable, Times]:
    """Lets contenders take `--turns` turns of `--seconds` seconds."""
    return turns.race(contenders, flags.FLAGS.turns, flags.FLAGS.seconds)


def write_each(
    names: Iterable[str], folder: Path, legacy_keras: Collection[str] = (), **settings: object
) -> None:
    """Starts this benchmark with `--write=NAME --folder=FOLDER/NAME` for each name.

    Args:
      names: of what is written; as many as there are cores at the same time.
      folder: in which a folder is made for each name.
      legacy_keras: those that are written for Keras 2.
      **settings: more flags.
    """

    def write(name: str) -> None:
        (folder / name).mkdir()
        command = [sys.executable, "-m", command_name()]
        command += _flags({"write": name, "folder": folder / name, **settings})
        print(f"writing files of {name}", file=sys.stderr)
        environment = turns.environment(name in legacy_keras)
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(write, names))


def _flags(settings: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]
