"""Zip archives, which may unpack to far more than they are, or to other places."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping

from levit_common.regular_files import ModelFileError, check_regular

# What is in here is written as it is, uncompressed, and weights that somebody compressed shrink
# little: by a quarter, or by a half where float16 was stored as float32. Deflate can reach 1000.
EXPANSION = 4
# Small files may be anything: this much is no burden.
ALWAYS_ALLOWED = 64 << 20  # bytes
# What `zipfile` raises of an archive that is damaged, or of a kind that it does not know.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError, EOFError, RuntimeError)
_MAX_MEMBERS = 100_000


def allowed_bytes(stored: int) -> int:
    """How many bytes may come out of so many."""
    return max(ALWAYS_ALLOWED, EXPANSION * stored)


def check_archive(path: str | os.PathLike, limits: Mapping[str, int] | None = None) -> set[str]:
    """Checks a zip archive by its directory; nothing is unpacked.

    Python's `zipfile` unpacks no more of a member than the directory says.

    Args:
      path: the archive.
      limits: bytes by the name of a member that has a bound of its own.

    Returns:
      The names of the members.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: a member is of a name or kind that does not belong into a model; or there are
        two of one name; or they unpack to too much; or it is no archive.
    """
    path = os.fspath(path)
    size = check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except DAMAGE as error:
        raise ModelFileError(f"{path}: truncated, or no zip archive ({error}).") from error
    if len(members) > _MAX_MEMBERS:
        raise ModelFileError(f"{path}: an archive of {len(members):,} members, so no model.")
    names = set()
    for member in members:
        _check_member(path, member)
        if member.filename in names:
            raise ModelFileError(f"{path}: two members called {member.filename!r}.")
        names.add(member.filename)
        limit = (limits or {}).get(member.filename)
        if limit is not None and member.file_size > limit:
            raise ModelFileError(
                f"{path}: {member.filename} in it unpacks to {member.file_size:,} bytes; at most "
                f"{limit:,} are read."
            )
    total = sum(member.file_size for member in members)
    if total > allowed_bytes(size):
        raise ModelFileError(
            f"{path}: unpacks to {total:,} bytes from {size:,}; at most {allowed_bytes(size):,} "
            "are allowed, since models hardly shrink. Save the model anew."
        )
    return names


def _check_member(path: str, member: zipfile.ZipInfo) -> None:
    name, mode = member.filename, member.external_attr >> 16
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
        raise ModelFileError(f"{path}: {name!r} in it leads out of the archive.")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ModelFileError(f"{path}: {name!r} in it is a link or a special file.")
    if member.flag_bits & 0x1:
        raise ModelFileError(f"{path}: {name!r} in it is encrypted.")
