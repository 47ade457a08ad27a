"""Something of which all requests together may have so much at a time: bytes, pixels."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class Budget:
    """An amount that is taken and given back, by any threads.

    Attributes:
      limit: of what may be taken together.
    """

    def __init__(self, limit: int, on_change: Callable[[int], None] = lambda taken: None):
        """Starts with nothing taken.

        Args:
          limit: of what may be taken together.
          on_change: told what is taken.
        """
        self.limit = limit
        self._on_change = on_change
        self._taken = self._times = 0
        self._changed = threading.Condition()

    def take(self, size: int, timeout_s: float = 0.0) -> bool:
        """Takes `size`, waiting up to `timeout_s` seconds for it; false if it cannot be had."""
        with self._changed:
            fits = self._changed.wait_for(lambda: self._taken + size <= self.limit, timeout_s)
            if fits:
                self._taken += size
                self._times += 1
                self._on_change(self._taken)
            return fits

    def give(self, size: int) -> None:
        """Gives `size` back."""
        with self._changed:
            self._taken -= size
            self._on_change(self._taken)
            self._changed.notify_all()

    def times_taken(self) -> int | None:
        """How often something was taken so far; None while something is."""
        with self._changed:
            return None if self._taken else self._times

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """What one request takes, which goes back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self.give(share.taken)


class Share:
    """What one request has of a budget."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self.taken = 0

    def take(self, size: int, timeout_s: float = 0.0) -> bool:
        """Takes `size` more; false if it cannot be had."""
        if not self._budget.take(size, timeout_s):
            return False
        self.taken += size
        return True
