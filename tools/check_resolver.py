"""Checks that pip finds versions for each extra, without constraints, within a time.

    python tools/check_resolver.py [--limit=120] [--log=FOLDER] [EXTRA]...

The pip is the one that comes with the Python that runs this, in an environment of its own: an old
pip tries versions one by one where bounds are wide, and may not end. Nothing is installed. An extra
that takes longer at first is resolved once more, from pip's cache, as downloads may be what took
the time; a package of which more than one version was tried is named. Downloads up to 3 GB.
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
# Times the limit that downloads may take.
DOWNLOADING = 5
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


def resolve(python: Path, extra: str, timeout: float) -> Resolution:
    """Lets pip find the versions of an extra.

    Args:
      python: of an environment with the pip.
      extra: the name of the extra.
      timeout: seconds after which it is ended.
    """
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-input"]
    command += ["--disable-pip-version-check", "-e", f".[{extra}]"]
    start, used = time.perf_counter(), _processor_time()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            timeout=timeout,
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


def check(python: Path, names: Sequence[str], limit: float, log: Path | None = None) -> bool:
    """Resolves extras and prints a line for each.

    Args:
      python: of an environment with the pip.
      names: of the extras; all of them if there is none.
      limit: seconds that one may take once everything is in pip's cache.
      log: a folder for what pip writes.

    Returns:
      Whether all were resolved in time.
    """
    version = subprocess.run(
        [python, "-m", "pip", "--version"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split(" from ")[0]
    print(f"{version}, Python {sys.version.split()[0]}, at most {limit:g} s an extra")
    print(f"{'extra':<8}{'result':<8}{'first, s':>9}{'again, s':>9}{'CPU, s':>8}{'packages':>9}")
    failed = []
    for extra in names or extras(python):
        runs = [resolve(python, extra, limit * DOWNLOADING)]
        if runs[0].packages is not None and runs[0].seconds > limit:
            runs.append(resolve(python, extra, limit))
        last = runs[-1]
        passed = last.packages is not None
        again = f"{last.seconds:.0f}" if len(runs) > 1 else ""
        print(
            f"{extra:<8}{'passed' if passed else 'FAILED':<8}{runs[0].seconds:>9.0f}{again:>9}"
            f"{last.processor:>8.0f}{last.packages or '-':>9}",
            flush=True,
        )
        for name, versions in tried_more_than_once(last.output).items():
            print(f"  {name}: tried {', '.join(versions)}")
        if log:
            (log / f"{extra}.log").write_text(last.output, encoding="utf-8")
        if not passed:
            end = "\n".join(last.output.strip().splitlines()[-5:])
            failed.append(
                f"{extra}: not resolved after {last.seconds:.0f} s; pip wrote last\n{end}"
            )
    for message in failed:
        print(f"\n{message}", file=sys.stderr)
    return not failed


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if every extra was resolved in time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=120, help="Seconds for one extra.")
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
