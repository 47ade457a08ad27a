"""Checks zip archives, which could unpack to a huge size or outside their folder."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping

from levit_common.regular_files import ModelFileError, check_regular

# Largest ratio of unpacked to stored size. This package stores weights uncompressed, and compressed
# weights shrink by a quarter, or a half if float16 is stored as float32. Deflate can reach 1000.
EXPANSION = 4
# Unpacked size that is always allowed, because it is harmless.
ALWAYS_ALLOWED = 64 << 20  # bytes
# Errors that `zipfile` raises for damaged or unsupported archives.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError, EOFError, RuntimeError)
_MAX_MEMBERS = 100_000


def allowed_bytes(stored: int) -> int:
    """Returns the allowed unpacked size of an archive of `stored` bytes."""
    return max(ALWAYS_ALLOWED, EXPANSION * stored)


def check_archive(path: str | os.PathLike, limits: Mapping[str, int] | None = None) -> set[str]:
    """Checks a zip archive by its directory; nothing is unpacked.

    This is enough, because Python's `zipfile` never unpacks more than the directory declares.

    Args:
      path: the archive.
      limits: size limits in bytes for individual members, by name.

    Returns:
      The names of the members.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: a member has a name or kind that does not belong in a model; or two members
        have the same name; or the unpacked size is too large; or the file is not an archive.
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
