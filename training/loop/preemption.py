"""SIGTERM, which clusters send before they take a machine away, and Ctrl-C, as a wish to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
_END = b"\0"


class StopWish:
    """Whether somebody asks for the end; called, it says so.

    Attributes:
      name: of the signal; None before one has come.
    """

    def __init__(self) -> None:
        self.name: str | None = None

    def __call__(self) -> bool:
        return self.name is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopWish]:
    """Within the block the first SIGTERM or Ctrl-C is a wish; the second one ends the process.

    A thread of its own takes note of them, since Python's handlers wait until the main thread is
    back from TensorFlow.

    Yields:
      The wish, which is never expressed outside of the main thread: only that may handle signals.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_watch, args=(reader, wish), daemon=True)
    watcher.start()
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield wish
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writer, _END)
        watcher.join()
        os.close(reader)
        os.close(writer)


def _watch(reader: int, wish: StopWish) -> None:
    """Reads the numbers of the signals that come."""
    while (found := os.read(reader, 1)) != _END:
        name = SIGNALS.get(found[0])
        if name is None:
            continue
        if wish.name is not None:
            os._exit(128 + found[0])
        wish.name = name
        # Not print(): the main thread may be at it.
        os.write(2, f"\n{name}: saves after this step; once more ends at once.\n".encode())
