"""The stand-in's memory under load and over reloads: a CSV file, a picture, and slopes.

    python -m benchmarks.serve.memory --images=FOLDER --output=memory --minutes=60

First only load, then reloads under load: each time the version is published again under the next
number, the server swaps, and the one before is deleted. Slopes are those of a straight line through
the second half, when caches and allocators have settled; for reloads through the lowest memory
between two of them, since while they last there are two versions. Random weights.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.support import results
from benchmarks.support.serving_process import MODEL, Running, export_model, server
from levit_common import cli
from levit_common.figures import make_figure, save_figure
from levit_common.files import atomic_path, check_new
from serving.client import Client
from serving.client.calls import Target
from serving.load.load_test_generator import OK, Load, Samples, generate
from serving.load_test import make_requests, read_pictures

_SLICE_S = 10.0
_TABLE = "memory.csv"


@dataclass(frozen=True)
class Row:
    """The state at one time.

    Attributes:
      seconds: since the beginning.
      requests: answered until then.
      reloads: done until then.
      resident_mb: memory of the server's process.
    """

    seconds: float
    requests: int
    reloads: int
    resident_mb: float


class Recorder:
    """Reads the memory every second, beside whatever else is done."""

    def __init__(self, running: Running):
        self._running = running
        self._start = time.monotonic()
        self._stopped = threading.Event()
        self._memory: list[tuple[float, float]] = []
        self._answers: list[np.ndarray] = []
        self._reloads: list[float] = []
        self.errors: dict[str, int] = {}
        self._thread = threading.Thread(target=self._record)
        self._thread.start()

    def load(self, load: Load) -> None:
        """Runs a load and counts its answers."""
        offset = time.monotonic() - self._start
        samples: Samples = generate(load)
        answered = samples.codes == OK
        self._answers.append(samples.done[answered] + offset)
        codes, counts = np.unique(samples.codes[~answered], return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.errors[code] = self.errors.get(code, 0) + count

    def reloaded(self) -> None:
        """Counts a reload."""
        self._reloads.append(time.monotonic() - self._start)

    def stop(self) -> list[Row]:
        """Ends the recording. Returns what was recorded."""
        self._stopped.set()
        self._thread.join()
        answers = np.sort(np.concatenate([np.zeros(0), *self._answers]))
        return [
            Row(
                seconds,
                int(np.searchsorted(answers, seconds)),
                int(np.searchsorted(self._reloads, seconds)),
                memory,
            )
            for seconds, memory in self._memory
        ]

    def _record(self) -> None:
        while True:
            elapsed = time.monotonic() - self._start
            self._memory.append((elapsed, self._running.resident_mb()))
            if self._stopped.wait(1.0):
                return


def reload_versions(running: Running, version: Path, count: int) -> Iterator[None]:
    """Publishes the version again and again, and waits for each swap.

    Raises:
      OSError: a swap has not happened within two minutes.
    """
    folder = version.parent
    first = int(version.name)
    with Client(running.grpc, MODEL) as client:
        for number in range(first + 1, first + 1 + count):
            draft = folder / f".{number}"
            shutil.copytree(folder / str(number - 1), draft)
            os.rename(draft, folder / str(number))
            end = time.monotonic() + 120
            while not _only_available(client, number):
                if time.monotonic() > end:
                    raise OSError(f"version {number} was not served: {client.model_status()}")
                time.sleep(0.1)
            shutil.rmtree(folder / str(number - 1))
            yield


def _only_available(client: Client, number: int) -> bool:
    states = {one.version: one.state for one in client.model_status()}
    serving = [version for version, state in states.items() if state != "END"]
    return serving == [number] and states[number] == "AVAILABLE"


def slope(rows: list[Row], amount: str) -> float:
    """MB for each unit of `amount`, of a straight line through the second half of the rows."""
    half = rows[len(rows) // 2 :]
    x = np.array([getattr(row, amount) for row in half], np.float64)
    y = np.array([row.resident_mb for row in half])
    return float(np.polyfit(x, y, 1)[0]) if len(set(x)) > 1 else 0.0


def lows_between_reloads(rows: list[Row]) -> list[Row]:
    """The row of lowest memory for each number of reloads."""
    lows: dict[int, Row] = {}
    for row in rows:
        if row.reloads not in lows or row.resident_mb < lows[row.reloads].resident_mb:
            lows[row.reloads] = row
    return list(lows.values())


def write_results(folder: str, under_load: list[Row], reloading: list[Row]) -> None:
    """Writes memory.csv and memory.png.

    Raises:
      ImportError: Matplotlib is not installed.
    """
    with atomic_path(folder, flags.FLAGS.overwrite, [_TABLE]) as temporary:
        os.mkdir(temporary)
        with open(Path(temporary, _TABLE), "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["phase", "seconds", "requests", "reloads", "resident_mb"])
            for phase, rows in (("load", under_load), ("reload", reloading)):
                for row in rows:
                    values = (row.seconds, row.requests, row.reloads, row.resident_mb)
                    table.writerow([phase, *(f"{value:.10g}" for value in values)])
        figure = make_figure(10, 4)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, rows, amount in ((left, under_load, "requests"), (right, reloading, "seconds")):
            x = [getattr(row, amount) for row in rows]
            axes.plot(x, [row.resident_mb for row in rows], color="#4477aa")
            axes.set_xlabel(amount)
            axes.grid(alpha=0.3)
        lows = lows_between_reloads(reloading)
        right.plot([row.seconds for row in lows], [row.resident_mb for row in lows], "o", ms=3)
        left.set_ylabel("resident memory of the server, MB")
        left.set_title("under load")
        right.set_title(f"{reloading[-1].reloads} reloads under load; dots: lowest between two")
        left.set_ylim(bottom=0)
        save_figure(figure, Path(temporary, "memory.png"))


def main() -> None:
    args = flags.FLAGS
    check_new(args.output, args.overwrite, [_TABLE])
    pictures = read_pictures(args.images, 256, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        version = export_model(args.variant, Path(folder))
        arguments = []
        if args.batching:
            file = Path(folder, "batching.config")
            arguments = ["--enable_batching", f"--batching_parameters_file={file}"]
        with server(Path(folder), *arguments) as running:
            path, bodies = make_requests(running.grpc, Target(MODEL), pictures)
            load = Load(
                server=running.grpc,
                path=path,
                bodies=bodies,
                rate=args.rate or None,
                duration_s=60 * args.minutes,
                warmup_s=0.0,
                concurrency=args.concurrency,
                timeout_s=60.0,
            )
            recorder = Recorder(running)
            recorder.load(load)
            under_load = recorder.stop()
            errors = recorder.errors
            recorder = Recorder(running)
            done = threading.Event()

            def reload() -> None:
                try:
                    for _ in reload_versions(running, version, args.reloads):
                        recorder.reloaded()
                finally:
                    done.set()

            reloading = threading.Thread(target=reload)
            reloading.start()
            seed = 1
            while not done.is_set():
                recorder.load(replace(load, duration_s=_SLICE_S, seed=seed))
                seed += 1
            reloading.join()
            rows = recorder.stop()
    write_results(args.output, under_load, rows)
    summary = []
    per_reload = slope(lows_between_reloads(rows), "reloads")
    per_thousand = 1000 * slope(under_load, "requests")
    for phase, part, failed, text in (
        ("load", under_load, errors, f"{per_thousand:.3f} MB for 1,000 requests"),
        ("reloads", rows, recorder.errors, f"{per_reload:.2f} MB for a reload"),
    ):
        first, last = part[0], part[-1]
        counts = (last.requests, last.reloads, str(failed or "none"))
        summary.append((phase, *counts, first.resident_mb, last.resident_mb, text))
    columns = ("phase", "requests", "reloads", "errors", "first, MB", "last, MB", "slope")
    results.publish("memory", columns, summary, args.output)
    if rows[-1].reloads < args.reloads:
        raise ValueError(f"only {rows[-1].reloads} of {args.reloads} reloads were done; see above")


def define_flags() -> None:
    flags.DEFINE_string("images", None, "Folder of pictures.", required=True)
    flags.DEFINE_string("output", None, "Folder for memory.csv and memory.png.", required=True)
    flags.DEFINE_bool("overwrite", False, "Replace the folder.")
    flags.DEFINE_string("variant", "LeViT128S", "Variant to measure.")
    flags.DEFINE_float("minutes", 60.0, "Minutes of load without reloads.", lower_bound=0.05)
    flags.DEFINE_integer("reloads", 50, "Reloads that follow.", lower_bound=1)
    flags.DEFINE_float("rate", 0.0, "Requests a second; 0: as many as are answered.", 0.0)
    flags.DEFINE_integer("concurrency", 4, "Requests under way at rate 0.", lower_bound=1)
    flags.DEFINE_bool("batching", False, "Whether the server batches.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
