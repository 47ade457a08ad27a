"""Runs the demo and the fast tests on each supported Python that is installed on this machine.

    python tools/check_pythons.py [--folder=.venv-pythons] 3.13 3.12 3.11

Each has its own environment in the folder, which is kept. Pythons are searched in PATH and in
pyenv's versions. It prints a table of what passed, and for each Python the packages for which pip
finds no version, or which it has to build from source. The exit code is 0 if something was run and
all of it passed.
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
# Not quiet: the output shows which packages are built from source.
_PIP_FLAGS = "--disable-pip-version-check --no-color --progress-bar=off"
_START = 'import ensurepip, sys, venv; print("%d.%d" % sys.version_info[:2])'


def find(version: str) -> Path | None:
    """Finds a Python of some version that starts and can create environments.

    Args:
      version: version, such as "3.12".

    Returns:
      Its path; None if this machine has none.
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
    """Yields possible paths. pyenv's shims are left out: they fail for versions not selected."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder and (Path(folder) / f"python{version}").is_file():
            yield Path(folder) / f"python{version}"
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(root.glob(f"versions/{version}*/bin/python{version}"))


def lacks(output: str) -> list[str]:
    """Lists the packages for which pip found no wheel.

    Args:
      output: output of pip, not quiet.

    Returns:
      A line for each requirement without a suitable version, and for each package that is built
      from source, with a note if the build failed.
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
    """Returns pytest's last line without its frame; "" if there is none."""
    lines = re.findall(r"^=+ (.*\b(?:passed|failed|error)\S*\b.* in .+?) =+$", output, re.MULTILINE)
    return lines[-1] if lines else ""


def check(versions: Sequence[str], folder: Path) -> bool:
    """Runs the demo and the tests on each Python, and prints a line for each.

    Args:
      versions: versions, such as "3.12".
      folder: folder for the environments and for the output of the commands, `VERSION/NAME.log`.

    Returns:
      Whether at least one step was run, and all passed.
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
