"""Runs `bazel test` with the packages of the Python that runs this, without network.

    python tools/bazel_offline/bazel_test.py [--folder=.venv-bazel] [TARGET]...

If there is no `bazel` in PATH, Debian's bazel-bootstrap (4.2.3) is unpacked into the folder, with
the libraries that the machine lacks; nothing is installed. This needs apt-get, dpkg-deb and a JDK.
Outputs are kept in the folder as well, and Bazel's server is stopped at the end.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "bazel-bootstrap"
LOCK = ROOT / "tools" / "requirements_lock.txt"
CONSTRAINTS = ROOT / "constraints.txt"
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
# Bazel's helpers, which need the unpacked libraries; programs started by them must not use these.
_HELPERS = ("process-wrapper", "linux-sandbox")


def check_lock() -> None:
    """Compares the lock file with the versions in the constraints, with which the tests pass.

    Raises:
      ValueError: a version differs, or a package is missing.
    """
    locked, wanted = _versions(LOCK), _versions(CONSTRAINTS)
    wrong = [name for name, version in wanted.items() if locked.get(name) != version]
    if wrong:
        raise ValueError(
            f"{LOCK.name} has other versions than {CONSTRAINTS.name}, or none, of "
            f"{', '.join(wrong)}. Its first lines say how to make it."
        )


def _versions(path: Path) -> dict[str, str]:
    """Returns versions by normalised name, without a local suffix after "+"."""
    pins = re.findall(r"^([\w.-]+)==([^\s+]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in pins}


def find_bazel(folder: Path) -> list[str]:
    """Returns the command that starts Bazel: from PATH, or else Debian's, unpacked into the folder.

    Args:
      folder: folder for the unpacked packages.

    Raises:
      OSError: a program is missing.
      subprocess.CalledProcessError: apt-get or dpkg-deb failed.
    """
    if shutil.which("bazel"):
        return ["bazel"]
    missing = [name for name in ("apt-get", "dpkg-deb", "javac") if not shutil.which(name)]
    if missing:
        raise OSError(
            f"There is no bazel in PATH, and to unpack Debian's {', '.join(missing)} would be "
            "needed (javac is of a JDK, such as default-jdk-headless)."
        )
    root, done = folder / "root", folder / ".unpacked"
    if not done.exists():
        shutil.rmtree(root, ignore_errors=True)
        _unpack(folder / "packages", root)
        done.touch()
    (libraries,) = (path.parent for path in root.glob("usr/lib/*/bazel"))
    base = root / "usr/share/bazel"
    loader = _loader(libraries)
    for name in _HELPERS:
        _wrap(base / name, loader)
    return [
        *loader,
        str(root / "usr/bin/bazel-4"),
        *("--nosystem_rc", f"--install_base={base}", "--trust_install_base"),
        f"--output_user_root={folder / 'outputs'}",
    ]


def _unpack(packages: Path, root: Path) -> None:
    simulated = subprocess.run(
        ["apt-get", "install", "--simulate", "--no-install-recommends", PACKAGE],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    # Its own jar already contains the Java libraries.
    names = [
        name
        for name in re.findall(r"^Inst (\S+)", simulated.stdout, re.MULTILINE)
        if name.startswith(PACKAGE) or (name.startswith("lib") and not name.endswith("-java"))
    ]
    packages.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "--quiet", *names], cwd=packages, check=True)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)


def _loader(libraries: Path) -> list[str]:
    """Returns the start of a command with more libraries, which child processes do not inherit."""
    for path in _LOADERS:
        if os.path.exists(path):
            return [path, "--library-path", str(libraries)]
    raise OSError(f"None of {', '.join(_LOADERS)} is here to start Debian's Bazel with.")


def _wrap(link: Path, loader: Sequence[str]) -> None:
    """Replaces a link to a program by a script that starts the program with more libraries."""
    if not link.is_symlink():
        return
    program = link.resolve(strict=True)
    link.unlink()
    command = " ".join(f"'{word}'" for word in (*loader, program))
    link.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    link.chmod(0o755)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns Bazel's exit code: 0 if every target builds and every test passes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv-bazel")
    parser.add_argument("targets", nargs="*", default=["//..."])
    arguments = parser.parse_args(argv)
    try:
        check_lock()
        bazel = find_bazel(arguments.folder.resolve())
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    python = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": python}
    options = ["--symlink_prefix=/", "--keep_going", "--show_progress_rate_limit=60"]
    try:
        command = [*bazel, "test", *options, *arguments.targets]
        return subprocess.run(command, cwd=ROOT, env=environment).returncode
    finally:
        subprocess.run([*bazel, "shutdown"], cwd=ROOT, env=environment)


if __name__ == "__main__":
    sys.exit(main())
