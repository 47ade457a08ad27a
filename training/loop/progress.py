"""The terminal output of a run: one line per epoch, with a progress bar if there is a terminal.

`keras.utils.Progbar` is not used: it shows neither when the run will end nor the time spent waiting
for data, and it prints every step into a log file.
"""

from __future__ import annotations

import sys
import time

BAR_WIDTH = 24
SECONDS_BETWEEN = 0.2


class Progress:
    """The progress line of one epoch.

    Args:
      title: beginning of the line.
      steps: number of steps in the epoch.
      first_step: index of the first step to run, counted from 0 in the epoch.
      batch_size: pictures per step.
      remaining_steps: steps in the rest of the run, including this epoch.
    """

    def __init__(
        self, title: str, steps: int, first_step: int, batch_size: int, remaining_steps: int
    ):
        self._title = title
        self._steps = steps
        self._first_step = first_step
        self._batch_size = batch_size
        self._remaining_steps = remaining_steps
        self._start = self._shown = time.perf_counter()
        self._waited = 0.0
        self._done = 0
        self._is_terminal = sys.stdout.isatty()

    def step(self, waited: float, loss: float) -> None:
        """Counts a step.

        Args:
          waited: seconds spent waiting for its data.
          loss: mean loss over the epoch so far.
        """
        self._done += 1
        self._waited += waited
        now = time.perf_counter()
        if self._is_terminal and now - self._shown > SECONDS_BETWEEN:
            self._shown = now
            print(f"\r{self._line(loss)}", end="", flush=True)

    def finish(self, loss: float, *more: str) -> None:
        """Ends the line.

        Args:
          loss: mean loss over the epoch.
          more: further results of the epoch.
        """
        line = ", ".join([self._line(loss), *more])
        print(f"\r{line}" if self._is_terminal else line, flush=True)

    @property
    def images_per_second(self) -> float:
        """Training pictures per second, including waits for data."""
        return self._done * self._batch_size / max(time.perf_counter() - self._start, 1e-9)

    @property
    def data_wait(self) -> float:
        """Share of the time spent waiting for data, 0..1."""
        return self._waited / max(time.perf_counter() - self._start, 1e-9)

    def _line(self, loss: float) -> str:
        place = self._first_step + self._done
        filled = BAR_WIDTH * place // self._steps
        bar = f"[{'=' * filled}{' ' * (BAR_WIDTH - filled)}] " if self._is_terminal else ""
        seconds = (time.perf_counter() - self._start) / max(self._done, 1)
        eta = _duration(seconds * (self._remaining_steps - self._done))
        return (
            f"{self._title} {bar}{place}/{self._steps}, loss {loss:.4f}, "
            f"{self.images_per_second:,.0f} images/s, data wait {self.data_wait:.0%}, ETA {eta}"
        )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{seconds:02}"
    return f"{days} d {clock}" if days else clock
