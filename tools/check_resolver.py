"""Checks that pip can resolve each extra without constraints, within a time limit.

    python tools/check_resolver.py [--limit=120] [--log=FOLDER] [EXTRA]...

It uses the pip of the Python that runs this, in a separate environment: if version bounds are wide,
an old pip tries versions one by one, and may not end. Nothing is installed. The limit is for
processor time, which depends neither on downloads, up to 3 GB, nor on other work of the machine.
Packages of which pip tried more than one version are listed.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Time limit in seconds, including downloads.
_PATIENCE = 3600
_TAKEN = re.compile(
    r"^ *(?:Using cached|Downloading|Processing) (?:\S*/)?"
    r"([A-Za-z0-9_.]+)-(\d[^-\s]*?)(?:-\S+\.whl|\.tar\.gz|\.zip)(?:\.metadata)?\b",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Resolution:
    """The result of resolving an extra.

    Attributes:
      seconds: elapsed time.
      processor: processor time, seconds.
      packages: number of packages to install; None if pip failed or did not end in time.
      output: all output of pip.
    """

    seconds: float
    processor: float
    packages: int | None
    output: str


def tried_more_than_once(output: str) -> dict[str, list[str]]:
    """Finds the packages of which pip tried more than one version.

    Args:
      output: output of `pip install`, not quiet.

    Returns:
      The versions in the order in which they were tried, by the name of the package.
    """
    versions: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for name, version in _TAKEN.findall(output):
        versions[re.sub("[-_.]+", "-", name).lower()][version] = None
    return {name: list(found) for name, found in versions.items() if len(found) > 1}


def resolve(python: Path, extra: str, limit: int) -> Resolution:
    """Lets pip resolve an extra.

    Args:
      python: Python of an environment that has the pip to test.
      extra: name of the extra.
      limit: limit of processor time, seconds.
    """
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-input"]
    command += ["--disable-pip-version-check", "-e", f".[{extra}]"]
    start, used = time.perf_counter(), _processor_time()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            timeout=_PATIENCE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = done.stdout
        found = re.search(r"^Would install (.+)$", output, re.MULTILINE)
        packages = len(found.group(1).split()) if found and not done.returncode else None
    except subprocess.TimeoutExpired as error:
        output, packages = (error.output or b"").decode(), None
    return Resolution(time.perf_counter() - start, _processor_time() - used, packages, output)


def _processor_time() -> float:
    """Returns the processor time of finished child processes, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def extras(python: Path) -> list[str]:
    """Returns the names of the extras, in the order of setup.py.

    Raises:
      subprocess.CalledProcessError: pip could not read setup.py.
    """
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps"]
    command += ["--disable-pip-version-check", "--quiet", "--report=-", "-e", "."]
    report = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(report)["install"][0]["metadata"]["provides_extra"]


def check(python: Path, names: Sequence[str], limit: int, log: Path | None = None) -> bool:
    """Resolves extras and prints a line for each.

    Args:
      python: Python of an environment that has the pip to test.
      names: names of the extras; empty for all.
      limit: limit of processor time per extra, seconds.
      log: folder for pip's output.

    Returns:
      Whether all were resolved in time.
    """
    version = subprocess.run(
        [python, "-m", "pip", "--version"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split(" from ")[0]
    print(
        f"{version}, Python {sys.version.split()[0]}, at most {limit} s of processor time an extra"
    )
    print(f"{'extra':<8}{'result':<8}{'CPU, s':>8}{'waited, s':>11}{'packages':>10}")
    failed = []
    for extra in names or extras(python):
        last = resolve(python, extra, limit)
        passed = last.packages is not None
        print(
            f"{extra:<8}{'passed' if passed else 'FAILED':<8}{last.processor:>8.0f}"
            f"{last.seconds:>11.0f}{last.packages or '-':>10}",
            flush=True,
        )
        for name, versions in tried_more_than_once(last.output).items():
            print(f"  {name}: tried {', '.join(versions)}")
        if log:
            (log / f"{extra}.log").write_text(last.output, encoding="utf-8")
        if not passed:
            end = "\n".join(last.output.strip().splitlines()[-5:])
            failed.append(
                f"{extra}: not resolved after {last.processor:.0f} s; pip wrote last\n{end}"
            )
    for message in failed:
        print(f"\n{message}", file=sys.stderr)
    return not failed


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if every extra was resolved in time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=120, help="CPU seconds per extra.")
    parser.add_argument("--log", type=Path, help="Folder for pip's output.")
    parser.add_argument("extras", nargs="*", help="Names of the extras; by default all.")
    arguments = parser.parse_args(argv)
    if arguments.log:
        arguments.log.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        return 0 if check(python, arguments.extras, arguments.limit, arguments.log) else 1


if __name__ == "__main__":
    sys.exit(main())
