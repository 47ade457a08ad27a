"""Runs the demo and the fast tests on every Python that levit_tf is for and that this machine has.

    python tools/check_pythons.py [--folder=.venv-pythons] 3.13 3.12 3.11

Each has an environment of its own in the folder, which is kept. A Python is taken from PATH, or
from pyenv's versions. Prints a table: what passed, and what each of them lacks, which is what pip
finds no version of or has to build from source. The exit code is 0 if what was run has passed, and
something was run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Not quiet, as the names of what is installed tell what comes as source.
_PIP_FLAGS = "--disable-pip-version-check --no-color --progress-bar=off"
_START = 'import ensurepip, sys, venv; print("%d.%d" % sys.version_info[:2])'


def find(version: str) -> Path | None:
    """A Python of a version that starts and can make environments.

    Args:
      version: such as "3.12".

    Returns:
      None if this machine has none.
    """
    for python in _candidates(version):
        try:
            started = subprocess.run([python, "-c", _START], capture_output=True, text=True)
        except OSError:
            continue
        if started.returncode == 0 and started.stdout.strip() == version:
            return python
    return None


def _candidates(version: str) -> Iterator[Path]:
    """Where such a Python may be. pyenv's shims fail for versions that are not selected."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder and (Path(folder) / f"python{version}").is_file():
            yield Path(folder) / f"python{version}"
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(root.glob(f"versions/{version}*/bin/python{version}"))


def lacks(output: str) -> list[str]:
    """What pip found no wheel of.

    Args:
      output: of pip, not quiet.

    Returns:
      A line for each requirement without any version that fits, and for each package that is built
      from source; of the latter, whether that failed.
    """
    missing = re.findall(r"No matching distribution found for ([^\s;]+)", output)
    failed = re.findall(r"Failed building wheel for ([\w.-]+)", output)
    sources = re.findall(
        r"(?:Using cached|Downloading|Processing) (?:\S*/)?([\w.]+-\d\S*?)(?:\.tar\.gz|\.zip)",
        output,
    )
    return [
        *(f"no {requirement}" for requirement in dict.fromkeys(missing)),
        *(f"{name} did not build" for name in dict.fromkeys(failed)),
        *(f"{name} from source" for name in dict.fromkeys(sources)),
    ]


def summary(output: str) -> str:
    """pytest's last line without its frame; "" where it wrote none."""
    lines = re.findall(r"^=+ (.*\b(?:passed|failed|error)\S*\b.* in .+?) =+$", output, re.MULTILINE)
    return lines[-1] if lines else ""


def check(versions: Sequence[str], folder: Path) -> bool:
    """Runs the demo and the tests on each and prints a line for each.

    Args:
      versions: such as "3.12".
      folder: of the environments and of what the commands write, `VERSION/NAME.log`.

    Returns:
      Whether all that was run passed, and anything was.
    """
    results = []
    print(f"{'Python':<9}{'step':<9}{'result':<8}{'time':>8}")
    for version in versions:
        python = find(version)
        if python is None:
            print(f"{version:<9}not on this machine", flush=True)
            continue
        results += [_step(python, version, folder / version, name) for name in ("demo", "test")]
    if not results:
        print(f"error: found none of Python {', '.join(versions)}", file=sys.stderr)
    return bool(results) and all(results)


def _step(python: Path, version: str, environment: Path, target: str) -> bool:
    """Runs a target of the Makefile, and prints a line about it. Returns whether it passed."""
    log = environment.with_name(f"{version}-{target}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["make", target, f"PYTHON={python}", f"VENV={environment}"]
    command += [f"RUN=runs/pythons/{version}", f"PIP_FLAGS={_PIP_FLAGS}"]
    start = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    output = log.read_text(encoding="utf-8", errors="replace")
    details = [*filter(None, [summary(output)]), *lacks(output)]
    if done.returncode:
        details.append(f"see {log}")
    print(
        f"{version:<9}{target:<9}{'FAILED' if done.returncode else 'passed':<8}"
        f"{time.perf_counter() - start:>6.0f} s  {'; '.join(details)}",
        flush=True,
    )
    return not done.returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if every step passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv-pythons")
    parser.add_argument("versions", nargs="+", help="Such as 3.12.")
    arguments = parser.parse_args(argv)
    return 0 if check(arguments.versions, arguments.folder.resolve()) else 1


if __name__ == "__main__":
    sys.exit(main())
