"""How time and memory grow with batch, resolution, windows and threads; how long a start takes.

    python -m benchmarks.scaling --variant=LeViT256
    python -m benchmarks.scaling --parts=startup
    python -m benchmarks.scaling --parts=windows

Each measurement is a process of its own, pinned; those of a part take turns, and the numbers are
medians. TFLite files take one picture a call, so a batch is so many calls. Memory is the most that
the process ever had, its Python and libraries included. A start begins with an interpreter that has
imported nothing and ends with the first answer. "windows" is TFLite with whole attention and with
windows of 14 tokens. Random weights. Takes half an hour on two cores.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import results
from converters.speed import runtimes
from converters.speed.turns import Contender, race, serve_turns
from levit_common import cli

PARTS = ("batch", "resolution", "windows", "startup")
BATCHES = (1, 4, 16, 64, 256)
SIDES = (128, 192, 224, 256, 384, 512)
LARGE_SIDES = (448, 672, 1024)
WINDOW = 14  # tokens, the first grid of the released tables
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
    folder: Path, variant: str, side: int, files: tuple[str, ...], window: int | None = None
) -> None:
    """The network for pictures of side x side pixels, in the formats named."""
    import keras

    import levit_tf
    from converters.onnx.conversion import to_onnx
    from converters.saved_model.conversion import to_saved_model
    from converters.tflite.calibration import calibration_images
    from converters.tflite.conversion import to_tflite
    from tests.support.randomize import randomize_keras

    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT(variant, input_shape=(side, side, 3), attention_window=window)
    randomize_keras(model)
    for file in files:
        path = folder / file
        if file == "fused.keras":
            levit_tf.fuse(model).save(path)
        elif file == "model.onnx":
            to_onnx(model, path)
        elif file.startswith("saved_model"):
            precision = "bfloat16" if "bf16" in file else "float32"
            weights = "variables" if "variables" in file else "constants"
            to_saved_model(model, path, precision=precision, weights=weights)
        else:
            images = calibration_images("photographs", (side, side))
            to_tflite(model, path, recipe=path.stem, outputs="logits", calibration_images=images)


def work(runtime: str, folder: Path) -> None:
    """A contender's process."""
    args = flags.FLAGS
    shape = (args.batch, args.side, args.side, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    if runtime.startswith("tflite"):
        recipe = runtime.removeprefix("tflite").removeprefix("_") or "fp32"
        run = runtimes.open_tflite(folder / f"{recipe}.tflite", images, args.threads)
    else:
        name = "saved_model" + runtime.removeprefix("tensorflow")
        run = runtimes.open_saved_model(folder / name, images, args.threads)
    serve_turns(run)


def measure(folder: Path, side: int, batches: tuple[int, ...], threads: int) -> list[tuple]:
    """(runtime, side, batch, threads, ms a picture, images/s, MB) for files of one side."""
    args = flags.FLAGS
    rows = []
    for batch in batches:
        running = {}
        for runtime in RUNTIMES:
            settings = [f"--worker={runtime}", f"--folder={folder}", f"--side={side}"]
            settings += [f"--batch={batch}", f"--threads={threads}"]
            running[runtime] = Contender("benchmarks.scaling", settings, threads)
        for runtime, found in race(running, args.turns, args.seconds).items():
            ms = found.ms / batch
            rows.append((runtime, side, batch, threads, ms, 1e3 / ms, round(found.memory / 1e6)))
    return rows


def measure_windows(variant: str, side: int) -> list[tuple]:
    """(side, recipe, attention, ms, MB) of the files of one side, one picture, one thread."""
    args = flags.FLAGS
    recipes = ("fp32", "int8")
    with tempfile.TemporaryDirectory() as root:
        running = {}
        for kind, window in (("whole", None), ("windows", WINDOW)):
            folder = Path(root, kind)
            folder.mkdir()
            files = tuple(f"{recipe}.tflite" for recipe in recipes)
            write_files(folder, variant, side, files, window)
            for recipe in recipes:
                settings = [f"--worker=tflite_{recipe}", f"--folder={folder}", f"--side={side}"]
                running[recipe, kind] = Contender("benchmarks.scaling", settings, threads=1)
        found = race(running, args.turns, args.seconds)
    return [(side, *key, one.ms, round(one.memory / 1e6)) for key, one in found.items()]


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
    files = ("fp32.tflite", "saved_model", "saved_model_bf16")
    wrong = [part for part in args.parts if part not in PARTS]
    if wrong:
        raise ValueError(f"--parts: expected some of {', '.join(PARTS)}. Received: {wrong[0]}")
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
        rows = [row for side in LARGE_SIDES for row in measure_windows(args.variant, side)]
        columns = ("side", "recipe", "attention", "ms", "MB")
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
    from levit_common.figures import make_figure, save_figure

    figure = make_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for runtime, threads in dict.fromkeys((row[0], row[3]) for row in rows):
        found = [row for row in rows if (row[0], row[3]) == (runtime, threads)]
        x = [row[column] for row in found]
        label = f"{runtime}, {threads} thread{'s' if threads > 1 else ''}"
        left.plot(x, [row[4] for row in found], "o-", ms=3, label=label)
        right.plot(x, [row[6] for row in found], "o-", ms=3, label=label)
    for axes, what in ((left, "ms a picture"), (right, "memory, MB")):
        axes.set(xlabel=name, ylabel=what, ylim=(0, None), xscale="log")
        axes.set_xticks(sorted({row[column] for row in rows}))
        axes.get_xaxis().set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.legend(fontsize=7)
    save_figure(figure, path)


def _draw_windows(rows: list[tuple], path: Path) -> None:
    """Time over the side, beside what it would be if it grew with the area."""
    from levit_common.figures import make_figure, save_figure

    figure = make_figure(6, 4)
    axes = figure.subplots()
    for recipe, kind in dict.fromkeys(row[1:3] for row in rows):
        some = [row for row in rows if row[1:3] == (recipe, kind)]
        axes.plot([r[0] for r in some], [r[3] for r in some], "o-", label=f"{recipe}, {kind}")
    first = next(row for row in rows if row[2] == "windows")
    sides = sorted({row[0] for row in rows})
    area = [first[3] * (side / first[0]) ** 2 for side in sides]
    axes.plot(sides, area, ":", color="0.5", label="as the area")
    axes.set(xlabel="side, pixels", ylabel="ms a picture", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    save_figure(figure, path)


def define_flags() -> None:
    flags.DEFINE_string("variant", "LeViT256", "Which network.")
    flags.DEFINE_list("parts", list(PARTS), f"Some of: {', '.join(PARTS)}.")
    flags.DEFINE_integer("turns", 3, "Of each contender.", lower_bound=1)
    flags.DEFINE_float("seconds", 0.3, "Of a turn, about.", lower_bound=0)
    results.define_output_flag()
    flags.DEFINE_integer("side", 224, "Of the pictures, pixels.", lower_bound=16)
    flags.DEFINE_integer("batch", 1, "Used by the benchmark itself.")
    flags.DEFINE_integer("threads", 1, "Used by the benchmark itself.")
    flags.DEFINE_string("worker", None, "Used by the benchmark itself.")
    flags.DEFINE_string("folder", None, "Used by the benchmark itself.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
