"""Threads for blocking calls, with a limited number of calls waiting for a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

import grpc

from serving.server.errors import ServingError
from serving.server.statuses import code_and_message

_Result = TypeVar("_Result")


class Workers:
    """A pool of threads that refuses calls beyond its capacity.

    Args:
      threads: number of calls to run at a time.
      waiting: number of further calls that may wait for a thread.
      name: name of the threads.
    """

    def __init__(self, threads: int, waiting: int, name: str):
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threading.BoundedSemaphore(threads + waiting)

    async def run(self, call: Callable[[], _Result], timeout_s: float) -> _Result:
        """Runs `call` in a thread and returns its result.

        After the timeout, a running call continues to its end in its thread, so calls should end by
        themselves at about that time.

        Raises:
          ServingError: UNAVAILABLE, if the pool is full; DEADLINE_EXCEEDED, if there is no result
            in time; the status of what `call` raised.
        """
        if not self._room.acquire(blocking=False):
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE, "The server is too busy; try again later."
            )
        try:
            future = self._pool.submit(_outcome, call)
        except RuntimeError:  # after close()
            self._room.release()
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE, "The server is shutting down."
            ) from None
        future.add_done_callback(lambda _: self._room.release())
        try:
            result, refusal = await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except TimeoutError:
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"There was no answer within {timeout_s:g} seconds.",
            ) from None
        if refusal is not None:
            raise ServingError(*refusal)
        return result

    def close(self) -> None:
        """Refuses further calls, drops the waiting ones, and does not wait for running ones."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _outcome(call: Callable[[], _Result]) -> tuple[_Result | None, tuple | None]:
    """Returns (result, None) or (None, status): a future with an exception holds its frames."""
    try:
        return call(), None
    except Exception as error:
        return None, code_and_message(error)
