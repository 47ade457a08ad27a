"""The web page: the files of serving/web, and their configuration for this server."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / "web"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    # The page connects only to the server that it came from, and loads nothing from elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclasses.dataclass(frozen=True)
class Asset:
    """The content at a path, and its headers."""

    body: bytes
    headers: dict[str, str]


class WebPage:
    """The content of the web page's paths.

    Args:
      model_names: returns the names of the served models.
      max_body_bytes: largest size of a request.
    """

    def __init__(self, model_names: Callable[[], Sequence[str]], max_body_bytes: int):
        self._model_names = model_names
        self._max_body_bytes = max_body_bytes
        # Read once: paths are looked up in this dict and never become file names.
        self._assets = {
            f"/{file.name}": Asset(
                file.read_bytes(), _HEADERS | {"Content-Type": _TYPES[file.suffix]}
            )
            for file in _FOLDER.iterdir()
            if file.suffix in _TYPES
        }
        self._assets["/"] = self._assets["/index.html"]

    def get(self, path: str) -> Asset | None:
        """Returns the content at `path`; None if there is none."""
        if path != "/config.json":
            return self._assets.get(path)
        config = {"models": list(self._model_names()), "max_body_bytes": self._max_body_bytes}
        headers = _HEADERS | {"Content-Type": "application/json", "Cache-Control": "no-store"}
        return Asset(json.dumps(config).encode(), headers)
