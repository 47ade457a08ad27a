"""A budget shared by all requests in progress, such as of bytes or pixels."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Budget:
    """An amount that threads take and give back.

    Attributes:
      limit: largest amount that may be taken in total.
    """

    def __init__(self, limit: int):
        """Makes a budget of which nothing is taken."""
        self.limit = limit
        self._taken = self._times = 0
        self._changed = threading.Condition()

    def take(self, size: int, timeout_s: float = 0.0) -> bool:
        """Takes `size`, waiting up to `timeout_s` seconds; returns False if it is not available."""
        with self._changed:
            fits = self._changed.wait_for(lambda: self._taken + size <= self.limit, timeout_s)
            if fits:
                self._taken += size
                self._times += 1
            return fits

    def give(self, size: int) -> None:
        """Gives `size` back."""
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    def taken(self) -> int:
        """Returns the amount that is taken."""
        return self._taken

    def times_taken(self) -> int | None:
        """Returns how often something was taken so far; None while something is taken."""
        with self._changed:
            return None if self._taken else self._times

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """Yields the share of one request, which is given back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self.give(share.taken)


class Share:
    """The share of a budget that one request has taken."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self.taken = 0

    def take(self, size: int, timeout_s: float = 0.0) -> bool:
        """Takes `size` more; returns False if it is not available."""
        if not self._budget.take(size, timeout_s):
            return False
        self.taken += size
        return True
