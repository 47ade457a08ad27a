"""Transports of bytes to the server: gRPC and HTTP, blocking and asyncio, one attempt at a time.

Each has `send(path, body, timeout_s) -> bytes`, which raises `TransportError`, and `close()`.
Libraries are imported on use, so that a client of one protocol does not load those of the other.
"""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.client.errors import TransportError
from serving.client.rest_codec import RETRYABLE, code_of, error_message

_CHUNK = 2**16
_JSON = {"Content-Type": "application/json"}
# gRPC's default limit for messages is 4 MB; the server accepts up to the largest int32.
_MAX_MESSAGE = 2**31 - 1
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    # The client has its own retries. If a channel waited longer than these before reconnecting, all
    # of them would fail.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # One connection per client, rather than one per process and server.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Tls:
    """Encryption; without any of the files, the server needs a certificate of a public authority.

    Attributes:
      root_certificates: PEM file of the authorities to trust instead of the usual ones.
      certificate: PEM file of the client's own certificate (and its chain), if the server asks for
        one.
      key: PEM file of that certificate's private key.
    """

    root_certificates: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self):
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: expected both or neither.")

    def channel_credentials(self) -> Any:
        """Returns the credentials for gRPC.

        Raises:
          ValueError: a file cannot be read; the message names it.
        """
        import grpc

        return grpc.ssl_channel_credentials(
            _read(self.root_certificates), _read(self.key), _read(self.certificate)
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Returns the context for HTTPS.

        Raises:
          ValueError: a file cannot be read, or contains no certificate or key; the message names
            it.
        """
        for path in (self.root_certificates, self.certificate, self.key):
            _read(path)
        try:
            context = ssl.create_default_context(cafile=self.root_certificates)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            files = (self.root_certificates, self.certificate, self.key)
            names = ", ".join(str(path) for path in files if path is not None)
            raise ValueError(f"{names}: no certificates or keys in PEM: {error}") from error
        return context


def _read(path: str | Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}.") from error


class GrpcTransport:
    """Blocking gRPC; threads may share it."""

    def __init__(self, address: str, tls: Tls | None):
        import grpc

        self._channel = _channel(grpc, address, tls)

    def send(self, path: str, body: bytes, timeout_s: float) -> bytes:
        import grpc

        try:
            return self._channel.unary_unary(path)(body, timeout=timeout_s)
        except grpc.RpcError as error:
            raise _grpc_failure(error) from error

    def close(self) -> None:
        self._channel.close()


class AsyncGrpcTransport:
    """gRPC on asyncio, for one event loop."""

    def __init__(self, address: str, tls: Tls | None):
        import grpc.aio

        self._open = lambda: _channel(grpc.aio, address, tls)
        self._channel = None

    async def send(self, path: str, body: bytes, timeout_s: float) -> bytes:
        import grpc

        if self._channel is None:  # only now, since it binds to the running loop
            self._channel = self._open()
        try:
            return await self._channel.unary_unary(path)(body, timeout=timeout_s)
        except grpc.RpcError as error:
            raise _grpc_failure(error) from error

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()


def _channel(kind: Any, address: str, tls: Tls | None) -> Any:
    if tls is None:
        return kind.insecure_channel(address, options=_CHANNEL_OPTIONS)
    return kind.secure_channel(address, tls.channel_credentials(), options=_CHANNEL_OPTIONS)


def _grpc_failure(error: Any) -> TransportError:
    code = error.code().name
    message = error.details() or "the server said nothing"
    if "http1.x server" in message:  # gRPC's words for the answer of a server that speaks HTTP
        message = (
            "this port speaks HTTP, as TensorFlow Serving's REST port does, mostly 8501. Give "
            "http://HOST:PORT (on the command line, --rest), or the gRPC port, mostly 8500."
        )
        return TransportError(code, message, is_retryable=False)
    # RESOURCE_EXHAUSTED means a too large request as often as a busy server.
    return TransportError(code, message, is_retryable=code == "UNAVAILABLE")


class RestTransport:
    """Blocking HTTP; threads may share it."""

    def __init__(self, address: str, tls: Tls | None):
        import urllib3

        secure = {} if tls is None else {"ssl_context": tls.ssl_context()}
        self._pool = urllib3.PoolManager(maxsize=64, retries=False, **secure)
        self._address = address

    def send(self, path: str, body: bytes | None, timeout_s: float) -> bytes:
        import urllib3

        end = time.monotonic() + timeout_s
        try:
            response = self._pool.request(
                "GET" if body is None else "POST",
                self._address + path,
                body=body,
                headers=None if body is None else _JSON,
                timeout=urllib3.Timeout(timeout_s),
                redirect=False,
                preload_content=False,
            )
            reply = self._read(response, end)
        except urllib3.exceptions.NewConnectionError as error:  # its type is that of a timeout
            raise _no_connection(error) from error
        except (urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise _timed_out(timeout_s) from error
        except urllib3.exceptions.SSLError as error:
            raise TransportError("UNAVAILABLE", f"TLS: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            raise _no_connection(error) from error
        return _http_reply(response.status, response.headers, reply)

    @staticmethod
    def _read(response: Any, end: float) -> bytes:
        """Reads the body piece by piece, as the library's time limit applies to each piece only."""
        pieces = []
        try:
            while piece := response.read1(_CHUNK):
                pieces.append(piece)
                if time.monotonic() >= end:
                    raise TimeoutError
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return b"".join(pieces)

    def close(self) -> None:
        self._pool.clear()


class AsyncRestTransport:
    """HTTP on asyncio, for one event loop, with one connection per concurrent request."""

    def __init__(self, address: str, tls: Tls | None):
        self._address = address
        self._context = True if tls is None else tls.ssl_context()
        self._session = None

    async def send(self, path: str, body: bytes | None, timeout_s: float) -> bytes:
        import aiohttp
        from yarl import URL

        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        try:
            async with self._session.request(
                "GET" if body is None else "POST",
                URL(self._address + path, encoded=True),
                data=body,
                headers=None if body is None else _JSON,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                reply = await response.read()
        except TimeoutError as error:
            raise _timed_out(timeout_s) from error
        except aiohttp.ClientSSLError as error:
            raise TransportError("UNAVAILABLE", f"TLS: {error}") from error
        except aiohttp.ClientConnectorError as error:
            # Its own text mentions ssl even without it. Errors of name resolution have negative
            # numbers.
            known = (error.errno or 0) > 0
            reason = os.strerror(error.errno) if known else error.strerror
            raise _no_connection(OSError(f"Failed to connect: {reason}")) from error
        except aiohttp.ClientError as error:
            raise _no_connection(error) from error
        return _http_reply(response.status, response.headers, reply)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _timed_out(timeout_s: float) -> TransportError:
    return TransportError("DEADLINE_EXCEEDED", f"no answer within {timeout_s:.3g} s")


def _no_connection(error: Exception) -> TransportError:
    return TransportError("UNAVAILABLE", str(error) or type(error).__name__, is_retryable=True)


def _http_reply(status: int, headers: Any, reply: bytes) -> bytes:
    if status == 200:
        return reply
    later = headers.get("Retry-After", "")
    raise TransportError(
        code_of(status),
        error_message(status, reply),
        is_retryable=status in RETRYABLE,
        retry_after_s=float(later) if later.isdecimal() else 0.0,
    )
