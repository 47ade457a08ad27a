"""The released ImageNet weights: download, verification and cache.

Source: `specification` in levit.py of facebookresearch/LeViT, and `default_cfgs` of
timm/models/levit.py. Both publish the same weights. The official files need torch for reading, and
their names contain the first eight hex digits of their SHA-256; timm's safetensors need no torch,
and the hub states their SHA-256 in a Git LFS pointer.

Keras downloads a file into a temporary folder. This module verifies it, since only the beginning of
some digests is known, and then moves it to Keras' cache. There it is converted once to Keras
weights; from then on no internet connection is needed. Nothing here falls back to random weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator

import keras

from levit_tf.variants import Variant

OFFICIAL_URL = "https://dl.fbaipublicfiles.com/LeViT"
HUB_URL = "https://huggingface.co"

_TIMEOUT = 60  # seconds without a byte


@dataclasses.dataclass(frozen=True)
class _Release:
    """A released checkpoint: the official file, and timm's repository on the Hugging Face hub."""

    official_file: str
    hub_repository: str

    @property
    def digest(self) -> str:
        """The first eight hex digits of the official file's SHA-256."""
        return self.official_file.removesuffix(".pth")[-8:]


_RELEASES = {
    "LeViT128S": _Release("LeViT-128S-96703c44.pth", "timm/levit_128s.fb_dist_in1k"),
    "LeViT128": _Release("LeViT-128-b88c2750.pth", "timm/levit_128.fb_dist_in1k"),
    "LeViT192": _Release("LeViT-192-92712e41.pth", "timm/levit_192.fb_dist_in1k"),
    "LeViT256": _Release("LeViT-256-13b5763e.pth", "timm/levit_256.fb_dist_in1k"),
    "LeViT384": _Release("LeViT-384-9bdaf2e2.pth", "timm/levit_384.fb_dist_in1k"),
}


def cache_dir() -> str:
    """Returns Keras' cache for models: `$KERAS_HOME/models`, by default `~/.keras/models`."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return os.path.join(home, "models")


def released_weights(variant: Variant, blank: Callable[[Variant], keras.Model]) -> str:
    """Returns the path of the released weights as `.weights.h5`; downloads and converts if needed.

    Args:
      variant: one of the paper's five variants.
      blank: function that builds a LeViT without weights, used to convert them to Keras' format.

    Raises:
      ValueError: no weights were released for `variant`, or a file failed its verification.
      ConnectionError: the file is not in the cache and cannot be fetched; the message names the URL
        and where to put the file by hand.
    """
    release = _RELEASES.get(variant.name)
    if release is None:
        raise ValueError(
            f'weights="imagenet": none were released for {variant.name}. There are weights for '
            f"{', '.join(_RELEASES)}."
        )
    converted = os.path.join(cache_dir(), f"{variant.name}-{release.digest}.weights.h5")
    if not os.path.exists(converted):
        _convert(blank(variant), variant, _checkpoint(release), converted)
    return converted


def _convert(model: keras.Model, variant: Variant, checkpoint: str, converted: str) -> None:
    from levit_tf.weights.checkpoint_files import read_checkpoint
    from levit_tf.weights.pytorch_weights import load_state_dict

    load_state_dict(model, read_checkpoint(checkpoint), variant=variant, source=checkpoint)
    with _temporary(converted) as temporary:
        model.save_weights(temporary)
        os.replace(temporary, converted)


def _checkpoint(release: _Release) -> str:
    """Returns the path of a verified checkpoint: the official one with torch, else timm's."""
    cache = cache_dir()
    hub_file = os.path.join(cache, release.hub_repository.replace("/", "--") + ".safetensors")
    official_file = os.path.join(cache, release.official_file)
    has_torch = importlib.util.find_spec("torch") is not None
    if has_torch and (os.path.exists(official_file) or not os.path.exists(hub_file)):
        url = f"{OFFICIAL_URL}/{release.official_file}"
        return _verified(official_file, url, release.digest)
    repository = f"{HUB_URL}/{release.hub_repository}"
    pointer = f"{hub_file}.pointer"
    if not os.path.exists(pointer):
        _fetch(
            f"{repository}/raw/main/model.safetensors",
            pointer,
            _parse_pointer,
            hint=f"\n  It is the checksum of {repository}/resolve/main/model.safetensors, which "
            f"belongs at: {hub_file}\n  With torch installed, {release.official_file} will do too.",
        )
    digest, size = _parse_pointer(pointer)
    url = f"{repository}/resolve/main/model.safetensors"
    return _verified(hub_file, url, digest, size)


def _verified(path: str, url: str, digest: str, size: int | None = None) -> str:
    """Returns `path`, downloaded if missing; checks that its SHA-256 starts with `digest`."""

    def verify(candidate):
        found_size = os.path.getsize(candidate)
        with open(candidate, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(digest) or size not in (None, found_size):
            expected = f"{digest}{'...' if len(digest) < 64 else ''}"
            of_size = "" if size is None else f" of {size} bytes"
            raise ValueError(
                f"{url}: wrong checksum. Expected SHA-256 {expected}{of_size}, found {found} of "
                f"{found_size} bytes. Nothing was kept at {path}; fetch it again."
            )

    if not os.path.exists(path):
        _fetch(url, path, verify)
        return path
    try:
        verify(path)
    except ValueError:
        os.remove(path)
        raise
    return path


def _parse_pointer(path: str) -> tuple[str, int]:
    """Returns SHA-256 and size in bytes from a Git LFS pointer file."""
    with open(path, "rb") as file:
        text = file.read(4096).decode(errors="replace")
    digest = re.search(r"^oid sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    size = re.search(r"^size (\d+)$", text, re.MULTILINE)
    if not digest or not size:
        raise ValueError(
            f"{path}: expected a Git LFS pointer with 'oid sha256:<hex>' and 'size <bytes>'. "
            f"Found: {text[:80]!r}"
        )
    return digest[1], int(size[1])


def _fetch(url: str, path: str, verify: Callable[[str], object], hint: str = "") -> None:
    """Downloads `url` to `path`, which is only created if `verify(temporary file)` passes."""
    with _temporary(path) as temporary:
        folder, name = os.path.split(temporary)
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)  # Keras sets no timeout and could wait forever
        try:
            keras.utils.get_file(name, url, cache_dir=folder, cache_subdir="")
        except Exception as error:  # Keras raises plain Exceptions
            raise ConnectionError(
                f"{name} is not in the cache, and fetching it failed ({error}).\n  from: {url}\n"
                f"  Fetch it by hand and put it at: {path}{hint}"
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)
        verify(temporary)
        os.replace(temporary, path)


@contextlib.contextmanager
def _temporary(path: str) -> Iterator[str]:
    """Yields a path of the same name in a temporary folder next to `path`, removed afterwards."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path), prefix=".fetch-") as scratch:
        yield os.path.join(scratch, os.path.basename(path))
