"""How time and memory grow with batch, resolution, windows and threads; how long a start takes.

    python -m benchmarks.scaling --variant=LeViT256
    python -m benchmarks.scaling --parts=startup
    python -m benchmarks.scaling --parts=windows

Each measurement is a process of its own, pinned; those of a part take turns, and the numbers are
medians. TFLite files take one picture a call, so a batch is so many calls. Memory is the most that
the process ever had, its Python and libraries included. A start begins with an interpreter that has
imported nothing and ends with the first answer. "windows" is TFLite with whole attention and with
windows of 14 tokens; a file that needs more memory to be written than there is has no figures.
Random weights. Takes half an hour on two cores.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from benchmarks.networks import ours
from benchmarks.networks.forms import random_pictures
from benchmarks.support import contenders, options, results
from benchmarks.support.pictures import draw_lines
from converters.speed import runtimes
from converters.speed.turns import serve_turns
from levit_common import cli

PARTS = ("batch", "resolution", "windows", "startup")
BATCHES = (1, 4, 16, 64, 256)
SIDES = (128, 192, 224, 256, 384, 512)
LARGE_SIDES = (448, 672, 1024)
# Of attention: the grid of the released tables, in tokens; None for the whole map.
WINDOWS = {"whole": None, "windows": 14}
TFLITE_FILES = ("fp32.tflite", "int8.tflite")
RUNTIMES = ("tflite", "tensorflow", "tensorflow_bf16")
STARTS = (
    "fused.keras",
    "saved_model",
    "saved_model_variables",
    "fp32.tflite",
    "int8.tflite",
    "model.onnx",
)
_STARTS_EACH = 5
# What a user's program does with each artefact; PATH and SIDE are filled in.
_PROGRAMS = {
    "fused.keras": """
import keras
at("import")
model = keras.models.load_model(PATH)
at("load")
model(images)
""",
    "saved_model": """
import tensorflow as tf
at("import")
serve = (loaded := tf.saved_model.load(PATH)).signatures["serving_default"]
at("load")
serve(images=tf.constant(images))
""",
    "tflite": """
from ai_edge_litert.interpreter import Interpreter
at("import")
model = Interpreter(model_path=PATH)
model.allocate_tensors()
at("load")
model.set_tensor(model.get_input_details()[0]["index"], images)
model.invoke()
""",
    "onnx": """
import onnxruntime
at("import")
model = onnxruntime.InferenceSession(PATH)
at("load")
model.run(None, {"images": images})
""",
}
_FRAME = """
import time
start = time.perf_counter()
import numpy as np
images = np.zeros((1, SIDE, SIDE, 3), np.float32)
def at(what):
    print("time", what, time.perf_counter() - start)
{program}
at("first answer")
with open("/proc/self/status") as status:
    print("time memory", *(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def write_files(
    folder: Path, variant: str, side: int, files: Sequence[str], window: int | None = None
) -> None:
    """The network for pictures of side x side pixels, in the formats named."""
    model = ours.levit(variant, input_shape=(side, side, 3), attention_window=window)
    ours.write_files(model, folder, files)


def work(runtime: str, folder: Path) -> None:
    """A contender's process."""
    args = flags.FLAGS
    images = random_pictures(args.batch, args.side)
    if runtime.startswith("tflite"):
        recipe = runtime.removeprefix("tflite").removeprefix("_") or "fp32"
        run = runtimes.open_tflite(folder / f"{recipe}.tflite", images, args.threads)
    else:
        name = "saved_model" + runtime.removeprefix("tensorflow")
        run = runtimes.open_saved_model(folder / name, images, args.threads)
    serve_turns(run)


def measure(folder: Path, side: int, batches: tuple[int, ...], threads: int) -> list[tuple]:
    """(runtime, side, batch, threads, ms a picture, images/s, MB) for files of one side."""
    rows = []
    for batch in batches:
        settings = {"folder": folder, "side": side, "batch": batch, "threads": threads}
        running = {
            runtime: contenders.start(threads, worker=runtime, **settings) for runtime in RUNTIMES
        }
        for runtime, found in contenders.race(running).items():
            ms = found.ms / batch
            rows.append((runtime, side, batch, threads, ms, 1e3 / ms, round(found.memory / 1e6)))
    return rows


def measure_windows(variant: str, side: int) -> list[tuple]:
    """(side, recipe, attention, ms, MB) of the files of one side, one picture, one thread."""
    running, rows = {}, []
    with tempfile.TemporaryDirectory() as root:
        # One process after the other: calibration keeps all tensors, and needs half a machine.
        for file, kind in itertools.product(TFLITE_FILES, WINDOWS):
            recipe = Path(file).stem
            folder = Path(root, recipe)
            folder.mkdir(exist_ok=True)
            try:
                contenders.write_each([kind], folder, variant=variant, side=side, file=file)
            except subprocess.CalledProcessError as error:
                if error.returncode != -signal.SIGKILL:  # how the system ends who takes too much
                    raise
                print(f"{file}, {kind}, {side}: needs more memory than there is", file=sys.stderr)
                rows.append((side, recipe, kind, None, None))
                continue
            running[recipe, kind] = contenders.start(
                1, worker=f"tflite_{recipe}", folder=folder / kind, side=side
            )
        found = contenders.race(running)
    rows += [(side, *key, one.ms, round(one.memory / 1e6)) for key, one in found.items()]
    return sorted(rows, key=lambda row: row[:3])


def start(file: str, folder: Path, side: int) -> dict[str, float]:
    """Seconds from the start until each point of a user's program, and kB of memory."""
    kind = "saved_model" if file.startswith("saved_model") else file
    program = _PROGRAMS.get(kind) or _PROGRAMS[Path(file).suffix[1:]]
    code = _FRAME.format(program=program)
    code = code.replace("PATH", repr(str(folder / file))).replace("SIDE", str(side))
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    found = {"whole process": time.perf_counter() - begin}
    for line in done.stdout.decode().splitlines():
        if line.startswith("time "):
            *what, value = line.removeprefix("time ").split()
            found[" ".join(what)] = float(value)
    return found


def _startup_rows(folder: Path, side: int) -> list[tuple]:
    found = {file: [] for file in STARTS}
    for _ in range(_STARTS_EACH):
        for file in STARTS:
            found[file].append(start(file, folder, side))
    points = ("import", "load", "first answer", "whole process", "memory")
    rows = []
    for file, starts in found.items():
        medians = [statistics.median(one[point] for one in starts) for point in points]
        rows.append((file, *medians[:-1], round(medians[-1] * 1024 / 1e6)))
    return rows


COLUMNS = ("runtime", "side", "batch", "threads", "ms a picture", "images/s", "MB")


def main() -> None:
    args = flags.FLAGS
    if args.worker:
        work(args.worker, Path(args.folder))
        return
    if args.write:
        window = WINDOWS[args.write]
        write_files(Path(args.folder), args.variant, args.side, [args.file], window)
        return
    files = ("fp32.tflite", "saved_model", "saved_model_bf16")
    if "batch" in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), args.variant, args.side, files)
            rows = [
                row
                for threads in (1, 2)
                for row in measure(Path(folder), args.side, BATCHES, threads)
            ]
        folder = results.publish("scaling_batch", COLUMNS, rows, args.output)
        _draw(rows, "batch", 2, folder / "scaling_batch.png")
    if "resolution" in args.parts:
        rows = []
        for side in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                write_files(Path(folder), args.variant, side, files)
                rows += measure(Path(folder), side, (1,), 1)
        folder = results.publish("scaling_resolution", COLUMNS, rows, args.output)
        _draw(rows, "side", 1, folder / "scaling_resolution.png")
    if "windows" in args.parts:
        columns, rows = ("side", "recipe", "attention", "ms", "MB"), []
        for side in LARGE_SIDES:
            rows += measure_windows(args.variant, side)
            results.write("scaling_windows", columns, rows, args.output)
        folder = results.publish("scaling_windows", columns, rows, args.output)
        _draw_windows(rows, folder / "scaling_windows.png")
    if "startup" in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), args.variant, args.side, STARTS)
            rows = _startup_rows(Path(folder), args.side)
        columns = ("artefact", "import, s", "load, s", "first answer, s", "process, s", "MB")
        results.publish("scaling_startup", columns, rows, args.output)


def _draw(rows: list[tuple], name: str, column: int, path: Path) -> None:
    """Time and memory over one column."""
    panels = {"ms a picture": {}, "memory, MB": {}}
    for row in rows:
        label = f"{row[0]}, {row[3]} thread{'s' if row[3] > 1 else ''}"
        for lines, y in zip(panels.values(), (row[4], row[6]), strict=True):
            lines.setdefault(label, []).append((row[column], y))
    draw_lines(path, panels, name, has_log_x=True, ylim=(0, None))


def _draw_windows(rows: list[tuple], path: Path) -> None:
    """Time over the side, beside what it would be if it grew with the area."""
    lines = {}
    for side, recipe, kind, ms, _ in rows:
        if ms is not None:
            lines.setdefault(f"{recipe}, {kind}", []).append((side, ms))
    first = next(row for row in rows if row[2] == "windows")
    lines["as the area"] = [(side, first[3] * (side / first[0]) ** 2) for side in LARGE_SIDES]
    styles = {"as the area": {"marker": "", "ls": ":", "color": "0.5"}}
    draw_lines(path, {"": lines}, "side, pixels", "ms a picture", styles=styles, ylim=(0, None))


def define_flags() -> None:
    flags.DEFINE_string("variant", "LeViT256", "Variant to measure.")
    options.define_some_of("parts", PARTS)
    options.define_race(turns=3)
    options.define_internal("write", "file")
    flags.DEFINE_integer("side", 224, "Side of the pictures, pixels.", lower_bound=16)
    flags.DEFINE_integer("batch", 1, "Used by the benchmark itself.")
    flags.DEFINE_integer("threads", 1, "Used by the benchmark itself.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
