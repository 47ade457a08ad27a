"""Returns memory that is no longer needed to the operating system."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from absl import logging

from serving.tensorflow_c.c_memory import give_back_pages

# Memory that is soon needed again would cost the next request page faults if it were returned.
_SECONDS_BETWEEN_LOOKS = 1.0
_WORTH_IT_SHARE, _WORTH_IT_BYTES = 0.1, 64 * 2**20


def give_back_memory() -> None:
    """Asks the C library to return its free memory; does nothing if that is not possible."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


class IdleTrim:
    """Returns memory left by requests when there have been none for a moment."""

    def __init__(self, requests_so_far: Callable[[], int | None], on_given: Callable[[int], None]):
        """Makes the thread; it begins with `start`.

        Args:
          requests_so_far: returns a number that grows with every request; None while there are
            some.
          on_given: called with the number of bytes returned.
        """
        self._requests_so_far = requests_so_far
        self._on_given = on_given
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="idle trim", daemon=True)

    def start(self) -> None:
        """Begins to watch; the present memory counts as the usual amount."""
        if sys.platform.startswith("linux"):
            self._thread.start()

    def stop(self) -> None:
        """Stops watching."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        usual, before = _memory("VmRSS"), None
        while not self._stopped.wait(_SECONDS_BETWEEN_LOOKS):
            requests = self._requests_so_far()
            is_idle = requests is not None and requests == before
            before = requests
            try:
                if is_idle:
                    usual = self._trimmed(usual)
            except OSError as error:  # no file can be opened
                logging.log_every_n_seconds(
                    logging.ERROR, "Memory is not handed back: %s", 60, error.strerror
                )

    def _trimmed(self, usual: int) -> int:
        """Returns memory if much is free; returns the new usual amount in bytes."""
        if _memory("VmRSS") - usual < max(_WORTH_IT_SHARE * usual, _WORTH_IT_BYTES):
            return usual
        gc.collect()  # exceptions may still refer to the contents of requests
        give_back_memory()
        given = give_back_pages(_memory("VmHWM"))
        self._on_given(given)
        # The remaining memory is needed, such as for a newly loaded model.
        usual = max(usual, _memory("VmRSS"))
        logging.info("%d MiB were handed back; %d are in use.", given >> 20, usual >> 20)
        return usual


def _memory(what: str) -> int:
    """Returns the bytes of this process, as Linux counts them."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition(f"{what}:")[2].split()[0]) * 1024
