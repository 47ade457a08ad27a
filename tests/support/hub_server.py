"""A local server that speaks as much of the Hugging Face hub's protocol as huggingface_hub asks."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from tests.support.file_server import serving_forever

COMMIT = "1" * 40
TOKEN = "hf_local"
_PATH = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class HubServer(http.server.ThreadingHTTPServer):
    """Repositories of files.

    Attributes:
      files: "owner/name" -> revision -> name -> content; each revision is a commit, too.
      branches: revision -> commit.
      gated: repositories that are shown with `TOKEN` only.
      replaced: content that is sent in place of the one that the checksums are of, by name.
      cut: names of files of which only a half is sent.
      requests: (method, path) of all that was asked.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches = {"main": COMMIT}
        self.gated: set[str] = set()
        self.replaced: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def publish(self, repository, files, commit=COMMIT):
        self.files.setdefault(repository, {})[commit] = dict(files)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        server = self.server
        server.requests.append((self.command, self.path))
        match = _PATH.fullmatch(urllib.parse.unquote(self.path.partition("?")[0]))
        if match is None:
            self._refuse(404, "")
            return
        repository = server.files.get(match["repository"])
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if match["repository"] in server.gated and not allowed:
            self._refuse(401, "GatedRepo")
        elif repository is None:
            self._refuse(401, "RepoNotFound")
        elif (
            commit := server.branches.get(match["revision"], match["revision"])
        ) not in repository:
            self._refuse(404, "RevisionNotFound")
        elif match["file"] not in repository[commit]:
            self._refuse(404, "EntryNotFound", commit)
        else:
            self._send(match["file"], repository[commit][match["file"]], commit)

    def _refuse(self, status, code, commit=None):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, name, content, commit):
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        if name.endswith(".json"):
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self.send_header("ETag", f'"{git}"')
        else:  # of Git LFS
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(content)))
        content = self.server.replaced.get(name, content)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if name in self.server.cut else content)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def local_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[HubServer]:
    """A server that huggingface_hub asks in this process, with its cache in a folder, no token."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    constants = huggingface_hub.constants
    with serving_hub() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


@contextlib.contextmanager
def serving_hub() -> Iterator[HubServer]:
    """A running server on a free local port."""
    with HubServer() as server, serving_forever(server):
        yield server
