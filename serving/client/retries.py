"""When a failed attempt is made again: exponential back-off with full jitter, within a deadline."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from serving.client.errors import TransportError


@dataclass(frozen=True)
class RetryPolicy:
    """How a client deals with servers that are away for a moment.

    Tried again are requests that found no connection or lost it, and those that were answered
    UNAVAILABLE (over REST: 503, and 429, which says "later"); never those that the server refused.
    Before the n-th repetition there is a pause, drawn evenly between 0 and
    `min(max_pause_s, first_pause_s * 2**(n - 1))`, so that many clients do not come back at once.

    Attributes:
      attempts: how often a request is sent at most; 1 never repeats one.
      first_pause_s: the longest first pause, seconds.
      max_pause_s: the longest pause, seconds.
      attempt_timeout_s: after how many seconds an attempt is given up and made again; None leaves
        an attempt all the time that its request has.
    """

    attempts: int = 5
    first_pause_s: float = 0.1
    max_pause_s: float = 5.0
    attempt_timeout_s: float | None = None

    def __post_init__(self):
        if self.attempts < 1:
            raise ValueError(f"attempts: expected at least 1. Received: {self.attempts}")
        for name in ("first_pause_s", "max_pause_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or more. Received: {getattr(self, name)}")
        if self.attempt_timeout_s is not None and not self.attempt_timeout_s > 0:
            raise ValueError(
                f"attempt_timeout_s: expected a positive number. Received: {self.attempt_timeout_s}"
            )


class Deadline:
    """A point in time that all requests of a call share."""

    def __init__(self, timeout_s: float):
        if not timeout_s > 0:
            raise ValueError(f"timeout_s: expected a positive number. Received: {timeout_s}")
        self._end = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left, negative afterwards."""
        return self._end - time.monotonic()


class Attempts:
    """The attempts of one request.

    Attributes:
      count: how many have begun.
    """

    def __init__(self, policy: RetryPolicy, deadline: Deadline, rng: random.Random):
        self._policy = policy
        self._deadline = deadline
        self._rng = rng
        self._cut_short = False
        self.count = 0

    def begin(self) -> float:
        """Starts an attempt. Returns the seconds that it may take.

        Raises:
          TransportError: the time is up.
        """
        remaining = self._deadline.remaining_s()
        if remaining <= 0:
            raise TransportError("DEADLINE_EXCEEDED", "no time was left to send the request")
        self.count += 1
        limit = self._policy.attempt_timeout_s
        self._cut_short = limit is not None and limit < remaining
        return limit if self._cut_short else remaining

    def pause_after(self, error: TransportError) -> float | None:
        """Seconds to wait before the next attempt, None if there is to be none."""
        timed_out = self._cut_short and error.code == "DEADLINE_EXCEEDED"
        if not (error.is_retryable or timed_out) or self.count >= self._policy.attempts:
            return None
        longest = self._policy.first_pause_s * 2 ** (self.count - 1)
        pause = self._rng.uniform(0, min(self._policy.max_pause_s, longest))
        pause = max(pause, error.retry_after_s)
        return pause if pause < self._deadline.remaining_s() else None
