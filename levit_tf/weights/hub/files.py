"""One file of a repository, by huggingface_hub: its cache, its token, its offline mode.

It compares the size of what it downloaded, and nothing else. Here the content is compared with the
checksum that the hub told and by which the cache names it: SHA-256 for large files, that of git for
small ones.
"""

from __future__ import annotations

import hashlib
import os
import re

from levit_tf.weights.hub.addresses import HubAddress

_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


def fetch(address: HubAddress, name: str) -> str | None:
    """Path of a file of a repository in huggingface_hub's cache.

    Args:
      address: the repository and its revision.
      name: of the file.

    Returns:
      None if the repository has no such file.

    Raises:
      ImportError: huggingface_hub is not installed.
      PermissionError: the repository is not there, or not for whoever asks.
      ConnectionError: the file is not in the cache and cannot be fetched; or it was cut off.
      ValueError: there is no such revision; or the content is not what the hub says it is.
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
        # The cache also keeps what there is not.
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
    except Exception as error:  # what its HTTP library raises is not among its own errors
        raise ConnectionError(
            f"{address}: {name} cannot be fetched: {_reason(error)} Nothing of it is used; try "
            "again."
        ) from error
    _verify(address, name, path)
    return path


def commit_of(path: str) -> str | None:
    """The commit that a file in the cache belongs to, by its path."""
    match = re.search(r"/snapshots/([0-9a-f]{40})/", path)
    return match and match[1]


def _reason(error: BaseException) -> str:
    """The first line of an error, of which some begin with empty ones."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _verify(address: HubAddress, name: str, path: str) -> None:
    """Raises ValueError, and removes the file, if its content is not that of its checksum."""
    blob = os.path.realpath(path)
    expected = os.path.basename(blob)
    if _SHA256.fullmatch(expected):
        digest = hashlib.sha256()
    elif _GIT.fullmatch(expected):
        digest = hashlib.sha1(b"blob %d\0" % os.path.getsize(blob), usedforsecurity=False)
    else:  # where the cache is on a file system without links; then nothing names the checksum
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
