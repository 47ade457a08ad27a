"""An emulated ARM64 computer in a folder: how Python is started on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

# In the folder: what runs here, what runs there, the file tree that each CPU sees, and Python
# packages for there.
HOST, ROOT, CPU_ROOTS, SITE = "host", "root", "cpus", "site"
DONE = ".done"  # when a folder was finished, for make
PICTURES = "pictures.npy"  # beside the files that are run on them
EMULATOR = "usr/bin/qemu-aarch64"
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")


class Cpu(NamedTuple):
    """What /proc/cpuinfo tells of a core by Arm, where LiteRT looks for what the CPU can do."""

    features: str
    part: str

    @property
    def cpuinfo(self) -> str:
        """The file's text, of two cores."""
        lines = (
            f"Features\t: {self.features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x0",
            f"CPU part\t: {self.part}",
            "CPU revision\t: 4",
        )
        return "".join(
            f"processor\t: {n}\nBogoMIPS\t: 50.00\n" + "\n".join(lines) + "\n\n" for n in range(2)
        )


# By the emulator's names. Features must be those that it emulates, or LiteRT crashes.
CPUS = {
    # Of 2018: dot products of int8 (asimddp), arithmetic in float16 (asimdhp).
    "cortex-a76": Cpu(
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp",
        "0xd0b",
    ),
    # Of 2012, in cheap phones for ten years: neither of the two.
    "cortex-a53": Cpu("fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid", "0xd03"),
}


def python_command(machine: str | os.PathLike, cpu: str, *qemu_options: str) -> list[str]:
    """The command that Python's arguments follow.

    Args:
      machine: folder that `tests.arm64.prepare` has made.
      cpu: one of `CPUS`.
      *qemu_options: further options of the emulator.

    Raises:
      FileNotFoundError: there is no such machine.
    """
    machine = Path(machine).resolve()
    host, root = machine / HOST, machine / CPU_ROOTS / cpu
    pythons = sorted((root / "usr/bin").glob("python3.*[0-9]"))
    if not pythons:
        raise FileNotFoundError(f"{machine}: no emulated machine there; make test-arm64 makes one.")
    return [
        # By its own loader, as its libraries may be newer than those of this machine.
        str(host / "lib64/ld-linux-x86-64.so.2"),
        *("--library-path", ":".join(str(host / folder) for folder in _LIBRARIES)),
        *(str(host / EMULATOR), "-cpu", cpu, "-L", str(root), *qemu_options),
        *("-E", f"PYTHONPATH={machine / SITE}", "-E", "PYTHONDONTWRITEBYTECODE=1"),
        *("-E", "PYTHONHASHSEED=0"),  # instructions are counted
        *(str(pythons[0]), "-S"),  # without this machine's packages
    ]
