"""Addresses of repositories on the hub, in the notation of huggingface_hub's file system."""

from __future__ import annotations

import dataclasses
import os
import re
import urllib.parse

SCHEME = "hf://"
EXPECTED = (
    "hf://OWNER/NAME, with @REVISION (a branch, a tag or a commit) and /FILE behind it where that "
    "is meant: hf://timm/levit_256.fb_dist_in1k@main/model.safetensors"
)
_ADDRESS = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@]+))?(/(?P<file>[^@]+))?"
)


@dataclasses.dataclass(frozen=True)
class HubAddress:
    """Address of a checkpoint.

    Attributes:
      repository: "owner/name".
      revision: a branch, a tag or a commit; None for the newest.
      file: name of a file in the repository; None for the default weights file.
    """

    repository: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{urllib.parse.quote(self.revision, safe='')}"
        return f"{SCHEME}{self.repository}{revision}{'' if self.file is None else f'/{self.file}'}"


def is_hub_address(path: object) -> bool:
    """Returns whether a value has the form of an address on the hub."""
    return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(SCHEME)


def advice_on_hub(path: object) -> str:
    """Returns advice for an address given where a file is expected; "" for any other value."""
    if not is_hub_address(path):
        return ""
    return (
        f" Of a LeViT on the hub python -m converters.from_pytorch --checkpoint={os.fspath(path)} "
        "--output=FILE.keras makes a file."
    )


def parse_address(text: str) -> HubAddress:
    """Parses an address; a "/" in a revision is written %2F.

    Raises:
      ValueError: the text is not a valid address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or ".." in text:
        raise ValueError(f"Expected {EXPECTED}. Received: {text!r}")
    revision = match["revision"]
    return HubAddress(
        match["repository"], revision and urllib.parse.unquote(revision), match["file"]
    )
