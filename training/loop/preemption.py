"""Stops a run after the present step on Ctrl-C, or on SIGTERM, which precedes preemption."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
_END = b"\0"


class StopWish:
    """Whether a stop was requested; calling it returns True or False.

    Attributes:
      name: name of the signal; None before one has arrived.
    """

    def __init__(self) -> None:
        self.name: str | None = None

    def __call__(self) -> bool:
        return self.name is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopWish]:
    """Within the block, the first SIGTERM or Ctrl-C requests a stop; the second ends the process.

    A separate thread receives the signals, since Python's handlers wait until the main thread
    returns from TensorFlow.

    Yields:
      The `StopWish`. Outside of the main thread it never becomes true, as only that thread can
      handle signals.
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
    """Reads the numbers of arriving signals."""
    while (found := os.read(reader, 1)) != _END:
        name = SIGNALS.get(found[0])
        if name is None:
            continue
        if wish.name is not None:
            os._exit(128 + found[0])
        wish.name = name
        # Not print(): the main thread may be printing.
        os.write(2, f"\n{name}: saves after this step; once more ends at once.\n".encode())
