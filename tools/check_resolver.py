"""Checks that pip finds versions for each extra, without constraints, within a time.

    python tools/check_resolver.py [--limit=120] [--log=FOLDER] [EXTRA]...

The pip is the one that comes with the Python that runs this, in an environment of its own: an old
pip tries versions one by one where bounds are wide, and may not end. Nothing is installed. What
counts is processor time, as neither downloads, up to 3 GB, nor other work on the machine are the
resolver's. A package of which more than one version was tried is named.
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
# Seconds in which downloads must be done too.
_PATIENCE = 3600
_TAKEN = re.compile(
    r"^ *(?:Using cached|Downloading|Processing) (?:\S*/)?"
    r"([A-Za-z0-9_.]+)-(\d[^-\s]*?)(?:-\S+\.whl|\.tar\.gz|\.zip)(?:\.metadata)?\b",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Resolution:
    """What pip did for an extra.

    Attributes:
      seconds: that it took.
      processor: seconds of processor time in it.
      packages: how many it would install; None where it did not end in time or failed.
      output: all that it wrote.
    """

    seconds: float
    processor: float
    packages: int | None
    output: str


def tried_more_than_once(output: str) -> dict[str, list[str]]:
    """Packages of which pip tried more than one version.

    Args:
      output: of `pip install`, not quiet.

    Returns:
      Versions in the order in which they were tried, by the package's name.
    """
    versions: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for name, version in _TAKEN.findall(output):
        versions[re.sub("[-_.]+", "-", name).lower()][version] = None
    return {name: list(found) for name, found in versions.items() if len(found) > 1}


def resolve(python: Path, extra: str, limit: int) -> Resolution:
    """Lets pip find the versions of an extra.

    Args:
      python: of an environment with the pip.
      extra: the name of the extra.
      limit: seconds of processor time after which it is ended.
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
    """Seconds that processes used which this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def extras(python: Path) -> list[str]:
    """The names of the extras, in the order of setup.py.

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
      python: of an environment with the pip.
      names: of the extras; all of them if there is none.
      limit: seconds of processor time that one may take.
      log: a folder for what pip writes.

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
    parser.add_argument("--limit", type=int, default=120, help="Seconds for one extra.")
    parser.add_argument("--log", type=Path, help="Folder for what pip writes.")
    parser.add_argument("extras", nargs="*", help="All of them if there is none.")
    arguments = parser.parse_args(argv)
    if arguments.log:
        arguments.log.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        return 0 if check(python, arguments.extras, arguments.limit, arguments.log) else 1


if __name__ == "__main__":
    sys.exit(main())
