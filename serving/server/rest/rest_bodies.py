"""Reading request bodies, with limits on their size and slowness, and on all of them together."""

from __future__ import annotations

import asyncio

import grpc
from aiohttp import web

from serving.server.budget import Share
from serving.server.errors import ServingError, invalid

# A body may be as slow as this; less is a client that holds connections to keep others out.
_GRACE_S = 10.0
_LEAST_BYTES_PER_S = 16 * 2**10


class BodyTooLargeError(Exception):
    """More bytes than a request may have: HTTP status 413."""


class BodyTooSlowError(Exception):
    """The body did not come: HTTP status 408."""


def check_length(request: web.Request, limit: int) -> None:
    """Refuses a body by the length that its header announces.

    Raises:
      BodyTooLargeError: it is above `limit` bytes.
    """
    if (request.content_length or 0) > limit:
        raise BodyTooLargeError


async def read_body(request: web.Request, limit: int, share: Share) -> bytes:
    """The body of a request, inflated if it came compressed.

    Args:
      limit: of its bytes, compressed and inflated.

    Raises:
      BodyTooLargeError: it has more than `limit` bytes.
      BodyTooSlowError: the client sends too slowly.
      ServingError: INVALID_ARGUMENT, if it is not what its headers say; UNAVAILABLE, if `share`
        cannot grow.
      ConnectionError: the client went away.
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
