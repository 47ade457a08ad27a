"""Threads for calls that block, and a bounded number of calls that wait for one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

import grpc

from serving.server.errors import ServingError

_Result = TypeVar("_Result")


class Workers:
    """A pool of threads that refuses more calls than it has room for.

    Args:
      threads: how many calls run at a time.
      waiting: how many more may wait for a thread.
      name: of the threads.
    """

    def __init__(self, threads: int, waiting: int, name: str):
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threading.BoundedSemaphore(threads + waiting)

    async def run(self, call: Callable[[], _Result], timeout_s: float) -> _Result:
        """The result of `call`.

        A call that has begun goes on to its end, in its thread, when nobody waits for it any more;
        calls should end by themselves about then.

        Raises:
          ServingError: UNAVAILABLE, if there is no room; DEADLINE_EXCEEDED, if there is no result
            within the time.
        """
        if not self._room.acquire(blocking=False):
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE, "The server is too busy; try again later."
            )
        try:
            future = self._pool.submit(call)
        except RuntimeError:  # after close()
            self._room.release()
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE, "The server is shutting down."
            ) from None
        future.add_done_callback(lambda _: self._room.release())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except TimeoutError:
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"There was no answer within {timeout_s:g} seconds.",
            ) from None

    def close(self) -> None:
        """Takes no more calls; those that wait are dropped, those that run are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
