"""LiteRT.js: npm packages in the version that the page was tested with, checked by checksum.

They are 12 MB, so they are downloaded when a page is first written, and cached.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from levit_common.files import atomic_path

_SECONDS = 900


class Package(NamedTuple):
    """An npm package.

    Attributes:
      name: name of the package.
      version: version of the package.
      integrity: SHA-512 of its archive in base64, as in npm.
    """

    name: str
    version: str
    integrity: str

    @property
    def archive(self) -> str:
        """The file name that `npm pack` gives the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


LITERT = Package(
    "@litertjs/core",
    "2.5.3",
    "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
)
WASM_UTILS = Package(
    "@litertjs/wasm-utils",
    "2.5.3",
    "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
)


def archive_of(package: Package, folder: str | os.PathLike | None = None) -> Path:
    """Returns the path of a package's archive, downloaded by npm if needed.

    Args:
      package: the package.
      folder: folder of the archive; by default `$XDG_CACHE_HOME/levit_tf`.

    Raises:
      FileNotFoundError: the archive does not exist, and npm is not installed.
      ConnectionError: npm cannot download it.
      ValueError: its checksum differs from that of the tested version.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(folder or Path(cache, "levit_tf"), package.archive)
    if not path.is_file():
        _fetch(package, path)
    found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != package.integrity:
        raise ValueError(
            f"{path}: not {package.name} {package.version}: its SHA-512 is {found}, expected "
            f"{package.integrity}. Remove it, and it is fetched again."
        )
    return path


def _fetch(package: Package, path: Path) -> None:
    wanted = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"{path}: not there, and npm, which would fetch it, is not installed. Put there what "
            f"`npm pack {wanted}` writes on another machine (--packages names the folder)."
        )
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [npm, "pack", wanted, "--silent"],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        written = Path(scratch, package.archive)
        if done.returncode or not written.is_file():
            said = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
            raise ConnectionError(f"npm cannot fetch {wanted}: {said[-1]}")
        shutil.move(written, temporary)


def files_in(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yields names, without a leading "package/", and contents of an archive's files."""
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isfile():
                yield member.name.removeprefix("package/"), opened.extractfile(member).read()
