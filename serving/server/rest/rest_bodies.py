"""Reads request bodies, with limits on size and slowness, and on their total size."""

from __future__ import annotations

import asyncio

import grpc
from aiohttp import web

from serving.server.budget import Share
from serving.server.errors import ServingError, invalid

# The slowest allowed rate of a body; slower clients may hold connections to keep others out.
_GRACE_S = 10.0
_LEAST_BYTES_PER_S = 16 * 2**10


class BodyTooLargeError(Exception):
    """A body is larger than allowed: HTTP status 413."""


class BodyTooSlowError(Exception):
    """A body arrived too slowly: HTTP status 408."""


def check_length(request: web.Request, limit: int) -> None:
    """Refuses a body by the length in its header.

    Raises:
      BodyTooLargeError: the length is above `limit` bytes.
    """
    if (request.content_length or 0) > limit:
        raise BodyTooLargeError


async def read_body(request: web.Request, limit: int, share: Share) -> bytes:
    """Reads the body of a request, and decompresses it if needed.

    Args:
      limit: largest number of bytes, both compressed and decompressed.

    Raises:
      BodyTooLargeError: the body has more than `limit` bytes.
      BodyTooSlowError: the client sends too slowly.
      ServingError: INVALID_ARGUMENT, if the body does not match its headers; UNAVAILABLE, if
        `share` cannot grow.
      ConnectionError: the client has disconnected.
    """
    check_length(request, limit)
    body = bytearray()
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        async with asyncio.timeout_at(start + _GRACE_S) as deadline:
            while chunk := await request.content.readany():
                if len(body) + len(chunk) > limit:
                    raise BodyTooLargeError
                if not share.take(len(chunk)):
                    raise ServingError(
                        grpc.StatusCode.UNAVAILABLE,
                        "The requests in progress take as much memory as they may together.",
                    )
                body += chunk
                deadline.reschedule(start + _GRACE_S + len(body) / _LEAST_BYTES_PER_S)
    except TimeoutError:
        raise BodyTooSlowError from None
    except web.RequestPayloadError:
        raise invalid("The body of the request is not encoded as its headers say.") from None
    return bytes(body)
