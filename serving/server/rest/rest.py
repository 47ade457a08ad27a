"""TensorFlow Serving's REST API for a `Backend`, with the metrics and the web page."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence

import grpc
from aiohttp import web

from serving.server.backend import Backend
from serving.server.budget import Budget, Share
from serving.server.errors import ServingError
from serving.server.json_bodies.replies import error_reply
from serving.server.rest import rest_urls
from serving.server.rest.rest_bodies import (
    BodyTooLargeError,
    BodyTooSlowError,
    check_length,
    read_body,
)
from serving.server.rest.rest_calls import answer
from serving.server.rest.rest_origins import Origins
from serving.server.rest.rest_page import WebPage
from serving.server.rest.rest_workers import Workers
from serving.status_codes import HTTP, Code

_logger = logging.getLogger(__name__)

_JSON = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type, Content-Encoding",
    "Access-Control-Max-Age": "600",
}
# Requests about models are answered even while all prediction threads are busy.
_STATUS_THREADS = 2
_SCHEME_AND_HOST = re.compile(r"https?://[^/]*", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class RestOptions:
    """Options and limits of the REST API.

    Attributes:
      timeout_s: time limit for a response, and again for the client to read it, seconds.
      max_body_bytes: largest size of a body, both compressed and decompressed.
      metrics_path: path of the Prometheus metrics; None for no metrics.
      web_page: whether there is a web page at "/".
      threads: number of requests to run at a time.
      waiting: number of further requests that may wait for a thread; beyond it the status is 503.
      bytes_under_way: budget for the bodies of all requests; beyond it the status is 503. None for
        four times the largest body.
      idle_timeout_s: time limit for a connection to send the head of its next request, seconds.
      origins: rules for the origins of requests.
      model_names: returns the names of the served models, for the web page.
    """

    timeout_s: float = 30.0
    max_body_bytes: int = 64 * 2**20
    metrics_path: str | None = "/monitoring/prometheus/metrics"
    web_page: bool = True
    threads: int = 4 * (os.cpu_count() or 1)
    waiting: int = 256
    bytes_under_way: Budget | None = None
    idle_timeout_s: float = 30.0
    origins: Origins = dataclasses.field(default_factory=Origins)
    model_names: Callable[[], Sequence[str]] = tuple


def rest_application(
    backend: Backend,
    metrics: Callable[[], tuple[bytes, str]] | None,
    options: RestOptions = RestOptions(),
) -> web.Application:
    """Makes the REST API as an aiohttp application.

    Args:
      backend: handles the requests; its methods are called from threads of the application.
      metrics: returns the metrics and their content type; None for no metrics.
      options: options and limits.
    """
    api = _RestApi(backend, metrics, options)
    application = web.Application(
        handler_args={"keepalive_timeout": options.idle_timeout_s, "access_log": None}
    )
    application.router.add_route("*", "/{path:.*}", api.handle, expect_handler=api.expect)
    application.on_cleanup.append(api.close)
    return application


class _RestApi:
    def __init__(
        self,
        backend: Backend,
        metrics: Callable[[], tuple[bytes, str]] | None,
        options: RestOptions,
    ):
        self._backend = backend
        self._metrics = metrics
        self._options = options
        self._page = None
        if options.web_page:
            self._page = WebPage(options.model_names, options.max_body_bytes)
        self._workers = Workers(options.threads, options.waiting, "rest")
        self._status_workers = Workers(_STATUS_THREADS, options.waiting, "rest-status")
        self._memory = options.bytes_under_way or Budget(4 * options.max_body_bytes)

    async def close(self, application: web.Application) -> None:
        self._workers.close()
        self._status_workers.close()

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Refuses a too large body before it is sent."""
        try:
            check_length(request, self._options.max_body_bytes)
        except BodyTooLargeError:
            return self._too_large()
        if request.headers["Expect"].lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # this is not yet the response
        return None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers: dict[str, str] = {}
        with self._memory.share() as share:
            try:
                host, origin = request.headers.get("Host"), request.headers.get("Origin")
                if request.method != "OPTIONS":  # a preflight reveals nothing
                    headers = self._options.origins.check(host, origin)
                response = await self._response(request, share)
            except ServingError as error:
                response = _error(HTTP.get(Code[error.code.name], 500), error.message)
            except BodyTooLargeError:
                response = self._too_large()
            except BodyTooSlowError:
                response = _error(408, "The body of the request came too slowly.")
                response.force_close()
            except ConnectionError:
                response = _error(499, "The client went away.")
            except Exception:
                _logger.exception("%s %.200r failed", request.method, request.raw_path)
                response = _error(500, "Internal error; the server's log says more.")
        response.headers.update(headers)
        await self._send(request, response)
        return response

    async def _response(self, request: web.Request, share: Share) -> web.Response:
        method, path = request.method, _SCHEME_AND_HOST.sub("", request.raw_path, count=1)
        if self._page is not None and method in ("GET", "HEAD"):
            asset = self._page.get(path.partition("?")[0])
            if asset is not None:
                return web.Response(body=asset.body, headers=_JSON | asset.headers)
        if self._metrics is not None and path == self._options.metrics_path:
            body, content_type = await self._status_workers.run(
                self._metrics, self._options.timeout_s
            )
            return web.Response(body=body, headers={"Content-Type": content_type})
        if not rest_urls.is_api(path):
            return _error(404, f"Nothing is here: {method} {path}")
        if method == "OPTIONS":
            return self._preflight(request)
        target = rest_urls.parse_target(method, path)
        body, workers = b"", self._status_workers
        if method == "POST":
            body, workers = (
                await read_body(request, self._options.max_body_bytes, share),
                self._workers,
            )
        until = time.monotonic() + self._options.timeout_s
        call = functools.partial(self._answer, request, target, body, until)
        return web.Response(body=await workers.run(call, self._options.timeout_s), headers=_JSON)

    def _answer(
        self, request: web.Request, target: rest_urls.Target, body: bytes, until: float
    ) -> bytes:
        if request.transport is None:
            raise ServingError(grpc.StatusCode.CANCELLED, "The client went away.")
        left = until - time.monotonic()
        if left <= 0:
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "It waited too long.")
        return answer(self._backend, target, body, left)

    def _preflight(self, request: web.Request) -> web.Response:
        """Without --cors_allowed_origins, as in TensorFlow Serving, no other origin is allowed."""
        origin = request.headers.get("Origin", "")
        if not re.search("https?://", origin):
            return web.Response(status=HTTP[Code.FAILED_PRECONDITION])
        headers = {}
        if self._options.origins.lets_in(origin):
            headers = _PREFLIGHT | {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        return web.Response(status=200, headers=headers)

    def _too_large(self) -> web.Response:
        limit = self._options.max_body_bytes
        return _error(413, f"The body of the request has more than {limit} bytes.")

    async def _send(self, request: web.Request, response: web.Response) -> None:
        """Sends the response to a client that may read it slowly, or not at all."""
        transport = request.transport
        if transport is None:
            return
        transport.set_write_buffer_limits(high=0)  # drained means: the kernel has all of it
        try:
            async with asyncio.timeout(self._options.timeout_s):
                await response.prepare(request)
                await response.write_eof()
                await request.writer.drain()
        except TimeoutError:
            transport.abort()
        except ConnectionError:
            pass  # aiohttp notices it as well, and closes the connection


def _error(status: int, message: str) -> web.Response:
    headers: Mapping[str, str] = _JSON | ({"Retry-After": "1"} if status == 503 else {})
    return web.Response(status=status, body=error_reply(message), headers=headers)
