"""Fetches one file of a repository with huggingface_hub's cache, token and offline mode.

huggingface_hub only compares the size of a downloaded file. This module compares the content with
the checksum that the hub sent and that is the file's name in the cache: SHA-256 for large files,
git's checksum for small ones.
"""

from __future__ import annotations

import hashlib
import os
import re

from levit_common.hub_addresses import HubAddress

_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


def fetch(address: HubAddress, name: str) -> str | None:
    """Returns the path of a repository's file in huggingface_hub's cache; downloads if necessary.

    Args:
      address: the repository and its revision.
      name: name of the file.

    Returns:
      The path; None if the repository has no such file.

    Raises:
      ImportError: huggingface_hub is not installed.
      PermissionError: there is no such repository, or this user has no access to it.
      ConnectionError: the file is not in the cache and cannot be fetched; or it was truncated.
      ValueError: there is no such revision; or the content does not match the hub's checksum.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ImportError(
            f'{address}: the hub needs huggingface_hub: pip install "levit_tf[hub]"'
        ) from error
    try:
        path = huggingface_hub.hf_hub_download(
            address.repository, name, revision=address.revision, library_name="levit_tf"
        )
    except errors.LocalEntryNotFoundError as error:
        known = huggingface_hub.try_to_load_from_cache(
            address.repository, name, revision=address.revision
        )
        # The cache also remembers which files do not exist.
        if known is huggingface_hub._CACHED_NO_EXIST:
            return None
        raise ConnectionError(
            f"{address}: {name} is not in the cache, and cannot be fetched: "
            f"{_reason(error.__cause__ or error)}"
        ) from error
    except errors.EntryNotFoundError:
        return None
    except errors.RevisionNotFoundError as error:
        raise ValueError(
            f"{address}: the repository has no revision {address.revision!r}. Expected a branch, a "
            "tag or a commit of it."
        ) from error
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise PermissionError(
            f"{address}: no such repository, or it is private or gated (HTTP "
            f"{error.response.status_code}). Look at its name; log in by `hf auth login` or set "
            "HF_TOKEN; and accept its terms on its page, if it has some."
        ) from error
    except errors.HFValidationError as error:
        raise ValueError(f"{address}: {_reason(error)}") from error
    except Exception as error:  # errors of its HTTP library are of other types than its own
        raise ConnectionError(
            f"{address}: {name} cannot be fetched: {_reason(error)} Nothing of it is used; try "
            "again."
        ) from error
    _verify(address, name, path)
    return path


def cached(address: HubAddress, name: str) -> str | None:
    """Returns the path of a repository's file in the cache; None if it is not there.

    Raises:
      ValueError: the content does not match the hub's checksum.
    """
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache(
        address.repository, name, revision=address.revision
    )
    if not isinstance(path, str):
        return None
    _verify(address, name, path)
    return path


def commit_of(path: str) -> str | None:
    """Returns the commit of a file in the cache, taken from its path."""
    match = re.search(r"/snapshots/([0-9a-f]{40})/", path)
    return match and match[1]


def _reason(error: BaseException) -> str:
    """Returns the first non-empty line of an error message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _verify(address: HubAddress, name: str, path: str) -> None:
    """Raises ValueError and removes the file if its content does not match its checksum."""
    blob = os.path.realpath(path)
    expected = os.path.basename(blob)
    if _SHA256.fullmatch(expected):
        digest = hashlib.sha256()
    elif _GIT.fullmatch(expected):
        digest = hashlib.sha1(b"blob %d\0" % os.path.getsize(blob), usedforsecurity=False)
    else:  # the cache's file system has no links: then no file name contains the checksum
        return
    with open(blob, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    if digest.hexdigest() != expected:
        os.remove(blob)
        os.unlink(path)
        raise ValueError(
            f"{address}: {name} has a wrong checksum. Expected {expected}, found "
            f"{digest.hexdigest()}. It was removed from the cache; fetch it again."
        )
