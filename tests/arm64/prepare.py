"""Puts an emulated ARM64 computer with LiteRT into a folder. Installs nothing on this one.

    python -m tests.arm64.prepare --folder=.venv-arm64/machine

QEMU's user-mode emulator with the libraries it needs, and Debian's Python for ARM64, come from the
Debian mirror of this machine by way of an apt configuration in the folder; LiteRT's wheel for ARM64
comes from where pip looks. Needs apt-get, dpkg-deb and an x86-64 CPU, no root, and 400 MB for a
while, 200 in the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from levit_common.files import atomic_path
from tests.arm64.machine import (
    CPU_ROOTS,
    CPUS,
    DONE,
    EMULATOR,
    HOST,
    ROOT,
    SITE,
    python_command,
)

TOOLS = ("apt-get", "apt-config", "dpkg-deb", "tar")
# What `serving.edge` needs; numpy comes with it.
PACKAGES = ("ai-edge-litert", "pillow")
# LiteRT's wheel is of the newest of them, its dependencies are of the others.
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_APT_CONFIGURATION = """\
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; "arm64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{sources}";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
"""


def prepare(
    folder: Path, *, sources: Path, emulator: str, packages: Sequence[str], python: str
) -> None:
    """Makes the machine.

    Args:
      folder: made by this, all of it or nothing; what was there is replaced.
      sources: list of Debian mirrors, in either of apt's formats.
      emulator: Debian package that has `EMULATOR`.
      packages: Debian packages for ARM64; those they depend on come with them.
      python: version of Python among them, for which wheels are chosen.

    Raises:
      FileNotFoundError: a tool or `sources` is missing.
      ValueError: this is no x86-64 machine, a command fails, or the machine does not work.
    """
    if platform.machine() != "x86_64":
        raise ValueError(f"Only x86-64 machines can run this. This one: {platform.machine()}")
    for tool in TOOLS:
        if shutil.which(tool) is None:
            raise FileNotFoundError(f"{tool} is missing: this needs Debian, or a relative of it.")
    if not sources.is_file():
        raise FileNotFoundError(
            f"{sources}: no such list of Debian mirrors. Name another: make ARM64_SOURCES=FILE"
        )
    with (
        atomic_path(folder, overwrite=True, made_of=[DONE]) as temporary,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".apt.") as scratch,
    ):
        machine, apt = Path(temporary), Path(scratch)
        _download(apt, sources, [f"{emulator}:amd64", *(f"{name}:arm64" for name in packages)])
        for archive in sorted((apt / "cache/archives").glob("*.deb")):
            target = ROOT if archive.stem.endswith("_arm64") else HOST
            _unpack(archive, machine / target, only=archive.name.startswith(f"{emulator}_"))
        _write_cpu_roots(machine)
        _install_wheels(machine / SITE, python)
        for cpu in CPUS:
            _try(machine, cpu)
        (machine / DONE).touch()


def _download(folder: Path, sources: Path, packages: Sequence[str]) -> None:
    """Packages with all that they depend on, into cache/archives of a private apt."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()  # of a computer on which nothing is installed
    # How this machine downloads, by a proxy for example; but not what it runs afterwards.
    acquire = _run(["apt-config", "dump", "Acquire"], "apt's configuration cannot be read")
    configuration = folder / "apt.conf"
    configuration.write_text(
        acquire.decode()
        + _APT_CONFIGURATION.format(folder=folder.resolve(), sources=sources.resolve())
    )
    environment = os.environ | {"APT_CONFIG": str(configuration)}
    print("Debian packages ...", flush=True)
    _run(
        ["apt-get", "update", "--error-on=any"],
        f"The package lists of {sources} cannot be read: is there a network, and has the mirror "
        "amd64 and arm64? Another list: make ARM64_SOURCES=FILE",
        env=environment,
    )
    _run(
        ["apt-get", "install", "--yes", "--download-only", *packages],
        f"Debian packages cannot be downloaded: {' '.join(packages)}. Names differ between "
        "releases; the Makefile has them as ARM64_EMULATOR, ARM64_PYTHON and ARM64_PACKAGES",
        env=environment,
    )


def _unpack(archive: Path, target: Path, only: bool) -> None:
    """Unpacks a Debian package; of QEMU's just the one emulator of thirty."""
    target.mkdir(parents=True, exist_ok=True)
    failure = f"{archive.name}: cannot be unpacked"
    if not only:
        _run(["dpkg-deb", "--extract", str(archive), str(target)], failure)
        return
    content = _run(["dpkg-deb", "--fsys-tarfile", str(archive)], failure)
    _run(["tar", "-x", "-C", str(target), f"./{EMULATOR}"], failure, input=content)


def _write_cpu_roots(machine: Path) -> None:
    """For each CPU a file tree with its own /proc/cpuinfo, else made of links."""
    for name, cpu in CPUS.items():
        root = machine / CPU_ROOTS / name
        (root / "proc").mkdir(parents=True)
        (root / "proc/cpuinfo").write_text(cpu.cpuinfo, encoding="ascii")
        for folder in (machine / ROOT).iterdir():
            (root / folder.name).symlink_to(Path("../..", ROOT, folder.name))


def _install_wheels(target: Path, python: str) -> None:
    print("Python packages ...", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    command += ["--constraint=constraints.txt", "--only-binary=:all:", f"--target={target}"]
    command += [f"--platform={name}" for name in _PLATFORMS]
    command += [f"--python-version={python}", "--implementation=cp", *PACKAGES]
    _run(command, f"No {' and '.join(PACKAGES)} for Python {python} on ARM64 Linux")


def _try(machine: Path, cpu: str) -> None:
    program = "import platform, ai_edge_litert.interpreter; print(platform.machine())"
    command = [*python_command(machine, cpu), "-c", program]
    found = _run(command, f"LiteRT does not start on an emulated {cpu}").decode().strip()
    if found != "aarch64":
        raise ValueError(f"The emulated machine says that it is {found!r}.")


def _run(command: list[str], failure: str, **options) -> bytes:
    result = subprocess.run(command, capture_output=True, check=False, **options)
    if result.returncode:  # negative where it crashed
        said = (result.stderr or result.stdout).decode(errors="replace").strip()
        raise ValueError(f"{failure}. {command[0]} ends with {result.returncode}:\n{said}")
    return result.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="what to make")
    parser.add_argument("--sources", type=Path, default="/etc/apt/sources.list.d/debian.sources")
    parser.add_argument("--emulator", default="qemu-user")
    parser.add_argument("--packages", nargs="+", default=["python3.11", "libstdc++6"])
    parser.add_argument("--python", default="3.11")
    options = vars(parser.parse_args(arguments))
    try:
        prepare(options.pop("folder"), **options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
