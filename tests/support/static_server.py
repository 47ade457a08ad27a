"""A folder served as any web server does, which can be cut off."""

from __future__ import annotations

import contextlib
import http.server
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.support.file_server import serving_forever


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def static_server(folder: Path) -> Iterator[str]:
    """The address of a running server on a free local port."""
    handler = partial(_Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with server, serving_forever(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/"


# Asks a page of serving.web_app about a picture: `execute_async_script(ASK, base64)`.
ASK = """
const [encoded, done] = arguments;
const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
import("./app.js")
  .then((app) => app.answer(new Blob([bytes])))
  .then(done, (error) => done({ error: String(error) }));
"""
