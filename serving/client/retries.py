"""Retries with exponential back-off and full jitter, within a deadline."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from serving.client.errors import TransportError


@dataclass(frozen=True)
class RetryPolicy:
    """How a client repeats requests to servers that are unavailable for a moment.

    A request is repeated if it found no connection or lost it, or if the response was UNAVAILABLE
    (over REST: 503, or 429, which means "later"); never if the server refused it. Before the n-th
    repetition there is a pause, uniformly distributed between 0 and `min(max_pause_s, first_pause_s
    * 2**(n - 1))`, so that many clients do not return at once.

    Attributes:
      attempts: largest number of times a request is sent; 1 turns repetition off.
      first_pause_s: longest first pause, in seconds.
      max_pause_s: longest of all pauses, in seconds.
      attempt_timeout_s: time limit of a single attempt in seconds, after which it is repeated; None
        for no limit other than that of the whole request.
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
    """A point in time that limits all requests of a call."""

    def __init__(self, timeout_s: float):
        if not timeout_s > 0:
            raise ValueError(f"timeout_s: expected a positive number. Received: {timeout_s}")
        self._end = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Returns the seconds left; negative after the deadline."""
        return self._end - time.monotonic()


class Attempts:
    """The attempts of one request.

    Attributes:
      count: number of attempts begun.
    """

    def __init__(self, policy: RetryPolicy, deadline: Deadline, rng: random.Random):
        self._policy = policy
        self._deadline = deadline
        self._rng = rng
        self._cut_short = False
        self.count = 0

    def begin(self) -> float:
        """Begins an attempt. Returns its time limit in seconds.

        Raises:
          TransportError: the deadline has passed.
        """
        remaining = self._deadline.remaining_s()
        if remaining <= 0:
            raise TransportError("DEADLINE_EXCEEDED", "no time was left to send the request")
        self.count += 1
        limit = self._policy.attempt_timeout_s
        self._cut_short = limit is not None and limit < remaining
        return limit if self._cut_short else remaining

    def pause_after(self, error: TransportError) -> float | None:
        """Returns the seconds to wait before the next attempt; None for no further attempt."""
        timed_out = self._cut_short and error.code == "DEADLINE_EXCEEDED"
        if not (error.is_retryable or timed_out) or self.count >= self._policy.attempts:
            return None
        longest = self._policy.first_pause_s * 2 ** (self.count - 1)
        pause = self._rng.uniform(0, min(self._policy.max_pause_s, longest))
        pause = max(pause, error.retry_after_s)
        return pause if pause < self._deadline.remaining_s() else None
