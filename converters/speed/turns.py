"""Measures contenders in separate processes that take turns, so that each has all cores.

A benchmark starts itself again for each contender (`Contender`), and the new process calls
`serve_turns`. Both read the contender's settings from the command line.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence

WARM_UP = 3


@dataclasses.dataclass(frozen=True)
class Times:
    """Measured times of one contender.

    Attributes:
      wall: wall time per call in seconds, for each turn.
      cpu: CPU time per call in seconds, for each turn.
      memory: peak memory of the process in bytes.
    """

    wall: list[float]
    cpu: list[float]
    memory: int

    @property
    def ms(self) -> float:
        """Wall time per call in milliseconds, median over the turns."""
        return 1e3 * statistics.median(self.wall)

    @property
    def cpu_ms(self) -> float:
        """CPU time per call in milliseconds, median over the turns."""
        return 1e3 * statistics.median(self.cpu)

    @property
    def spread(self) -> float:
        """Distance of the quartiles of wall time, relative to its median."""
        if len(self.wall) < 2:
            return 0.0
        low, middle, high = statistics.quantiles(self.wall, n=4)
        return (high - low) / middle


def serve_turns(call: Callable[[], object]) -> None:
    """Runs in a contender's process: reads numbers of calls, makes them, and prints their times."""
    for _ in range(WARM_UP):
        call()
    print("ready", flush=True)
    for line in sys.stdin:
        wall, cpu = _turn(call, int(line))
        print(f"result {wall} {cpu} {_peak_memory()}", flush=True)


def environment(legacy_keras: bool) -> dict[str, str]:
    """Returns environment variables for a process with quiet TensorFlow and a choice of Keras."""
    keras = {"TF_USE_LEGACY_KERAS": "1"} if legacy_keras else {}
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, **keras}


class Contender:
    """A process that waits for its turn.

    Args:
      module: module to start with `python -m`.
      flags: command-line flags of the process.
      threads: number of cores that the process is pinned to.
      legacy_keras: whether the module is written for Keras 2.

    Raises:
      ValueError: the process ended before it was ready; its own messages are on stderr.
    """

    def __init__(
        self,
        module: str,
        flags: Sequence[str],
        threads: int,
        legacy_keras: bool = False,
    ):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self._name = " ".join(flags)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(legacy_keras),
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self._wall, self._cpu, self._memory = [], [], 0
        self._answer("ready")

    def turn(self, seconds: float) -> None:
        """Measures as many calls as fit in `seconds`, judged by the last turn; at least one."""
        calls = max(1, round(seconds / self._wall[-1])) if self._wall else 1
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        wall, cpu, memory = self._answer("result").split()[1:]
        self._wall.append(float(wall))
        self._cpu.append(float(cpu))
        self._memory = int(memory)

    def stop(self) -> Times:
        """Ends the process and returns its times."""
        with self._process:  # closes the pipes and waits
            pass
        # The first turn was a single call, to find out how long a call takes.
        skip = 1 if len(self._wall) > 1 else 0
        return Times(self._wall[skip:], self._cpu[skip:], self._memory)

    def _answer(self, kind: str) -> str:
        for line in self._process.stdout:
            if line.startswith(kind):
                return line
        raise ValueError(f"{self._name}: failed with exit code {self._process.wait()}; see above")


def race(contenders: dict[str, Contender], turns: int, seconds: float) -> dict[str, Times]:
    """Lets contenders take turns.

    Args:
      contenders: contenders by name.
      turns: number of turns of each contender.
      seconds: approximate length of a turn.
    """
    for _ in range(turns + 1):
        for contender in contenders.values():
            contender.turn(seconds)
    return {name: contender.stop() for name, contender in contenders.items()}


def in_turns(
    calls: Mapping[Hashable, Callable[[], object]], turns: int, count: int = 1
) -> dict[Hashable, Times]:
    """Lets functions take turns in this process, and returns the times of each.

    Args:
      calls: functions to measure, by name.
      turns: number of turns of each function.
      count: number of timed calls in a turn.
    """
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    found = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            found[name].append(_turn(call, count))
    memory = _peak_memory()
    return {name: Times(*map(list, zip(*one, strict=True)), memory) for name, one in found.items()}


def _turn(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Returns wall-clock and CPU seconds per call, means over `count` calls."""
    call()  # not timed: the caches still have another contender's data
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        call()
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def _peak_memory() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
