"""Inference of LeViT in every CPU runtime and every implementation, in alternating processes.

    python -m benchmarks.cpu_inference
    python -m benchmarks.cpu_inference --variants=LeViT256 --batches=1 --threads=1 \\
        --contenders=tflite_fp32,tflite_int8,onnxruntime,openvino,openvino_int8

Each contender runs in a process of its own, pinned to as many cores as it has threads; they take
turns, so that each has the caches and the cores to itself, and the numbers are medians over the
turns. Random weights and pictures, on which time does not depend.

ONNX Runtime and OpenVINO run files of `converters.to_onnx`, OpenVINO the one of tokens; NNCF makes
its int8 file of the one that ONNX Runtime runs, with its settings for transformers. `torch_*` is
timm's LeViT with BatchNorm folded, as the official speed_test.py does it, and traced and frozen, or
compiled; `timm` and `transformers` are as their users get them, `kecam` (keras_cv_attention_models)
is what its own tools make for inference. TFLite files take one picture a call, so a batch is so
many calls. A GFLOP/s counts two operations a multiply-add, and the share is of the float32 matrix
product of 2048x2048 that NumPy reaches on the same cores in the same run.

Needs the [bench] extra. All of it takes over an hour, most of it torch.compile.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.networks import ours, peers
from benchmarks.networks.forms import OPENVINO, random_pictures
from benchmarks.support import contenders, options, results
from benchmarks.support.pictures import draw_lines
from converters.speed import runtimes
from converters.speed.turns import Times, serve_turns
from levit_common import cli

TFLITE = ("tflite_fp32", "tflite_dynamic", "tflite_int8", "tflite_int8_full", "tflite_fp16_compute")
CONTENDERS = (
    *TFLITE,
    *("tensorflow", "tensorflow_bf16", "onnxruntime"),
    *("openvino", "openvino_bf16", "openvino_int8"),
    *("torch_traced", "torch_compiled", "timm", "transformers", "kecam"),
)
_ANY_BATCH = ("tflite_fp32", "tflite_int8", *CONTENDERS[len(TFLITE) :])
PEAK = "matmul"
_PEAK_SIDE = 2048


def file_of(contender: str) -> str | None:
    """The file that a contender runs; None where it builds the network of another codebase."""
    if contender in TFLITE:
        recipe = contender.removeprefix("tflite_")
        return "fp32.tflite" if recipe == "fp16_compute" else f"{recipe}.tflite"
    if contender.startswith("tensorflow"):
        return contender.replace("tensorflow", "saved_model")
    if contender == "openvino_int8":
        return "int8.xml"
    if contender.startswith("openvino"):
        return OPENVINO
    return "fp32.onnx" if contender == "onnxruntime" else None


def prepare(
    contender: str, variant: str, folder: Path, images: np.ndarray, threads: int
) -> runtimes.Run:
    """One contender: a function that classifies `images`, (batch, height, width, 3) float32."""
    if contender == PEAK:
        matrix = np.ones((_PEAK_SIDE, _PEAK_SIDE), np.float32)
        return lambda: matrix @ matrix
    path = folder / (file_of(contender) or "")
    if contender == "tflite_fp16_compute":
        from benchmarks.tflite_recipes import half_precision

        run = half_precision(path, threads)
        return lambda: run(images)
    if contender in TFLITE:
        return runtimes.open_tflite(path, images, threads)
    if contender.startswith("tensorflow"):
        return runtimes.open_saved_model(path, images, threads)
    if contender == "onnxruntime":
        return runtimes.open_onnxruntime(path, images, threads)
    if contender.startswith("openvino"):
        precision = "bf16" if contender == "openvino_bf16" else "f32"
        return runtimes.open_openvino(path, images, threads, precision)
    if contender == "kecam":
        return _kecam(variant, images, threads)
    form = {"torch_traced": "traced", "torch_compiled": "compiled"}.get(contender, "eager")
    return peers.open_torch(_torch_module(contender, variant), images, threads, form)


def _torch_module(contender: str, variant: str):
    from tests.support.randomize import randomize_torch
    from tests.support.references import hf_reference, timm_reference

    reference = hf_reference if contender == "transformers" else timm_reference
    module = reference(variant).module
    randomize_torch(module)
    if contender.startswith("torch"):
        from timm.utils.model import reparameterize_model

        module = reparameterize_model(module.eval())
    return module


def _kecam(variant: str, images: np.ndarray, threads: int) -> runtimes.Run:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = peers.kecam_levit(variant)
    call = tf.function(lambda x: model(x, training=False))
    x = tf.constant(images / 255)
    return lambda: call(x).numpy()


def measure(variant: str, batch: int, threads: int, chosen: list[str], folder: Path):
    """Lets the contenders for one variant, batch size and number of threads take turns.

    Returns:
      Name -> `converters.speed.turns.Times`, with that of `PEAK`.
    """
    wanted = [name for name in chosen if batch == 1 or name in _ANY_BATCH]
    settings = {"folder": folder, "variants": variant, "batches": batch, "threads": threads}
    running = {
        name: contenders.start(threads, name == "kecam", worker=name, **settings)
        for name in (PEAK, *wanted)
    }
    return contenders.race(running)


def _rows(variant: str, batch: int, threads: int, times: dict[str, Times]) -> list[tuple]:
    import levit_tf

    flops = 2 * levit_tf.count_flops(levit_tf.LeViT(variant))
    peak = 2 * _PEAK_SIDE**3 / (1e6 * times[PEAK].ms)
    first = next(name for name in times if name != PEAK)
    rows = []
    for name, found in times.items():
        if name == PEAK:
            continue
        rate = flops * batch / (1e6 * found.ms)
        times_of = (found.ms, found.cpu_ms, found.spread, found.ms / times[first].ms)
        speed = (1e3 * batch / found.ms, rate, rate / peak)
        rows.append((variant, batch, threads, name, *times_of, *speed))
    return rows


COLUMNS = (
    *("variant", "batch", "threads", "contender", "ms", "ms of CPU", "spread"),
    *("ratio to first", "images/s", "GFLOP/s", "share of peak"),
)


def main() -> None:
    args = flags.FLAGS
    from levit_tf.variants import get_variant

    if args.worker:
        (variant,), (batch,), (threads,) = args.variants, args.batches, args.threads
        images = random_pictures(int(batch), get_variant(variant).input_size).round()
        serve_turns(prepare(args.worker, variant, Path(args.folder), images, int(threads)))
        return
    files = [file for file in map(file_of, args.contenders) if file]
    rows = []
    for variant in args.variants:
        with tempfile.TemporaryDirectory() as folder:
            ours.write_files(ours.levit(variant), Path(folder), files)
            for batch in map(int, args.batches):
                for threads in map(int, args.threads):
                    times = measure(variant, batch, threads, args.contenders, Path(folder))
                    rows += _rows(variant, batch, threads, times)
                    # What was measured is there, however the rest ends.
                    results.write("cpu_inference", COLUMNS, rows, args.output)
    _draw(rows, results.publish("cpu_inference", COLUMNS, rows, args.output))


def _draw(rows: list[tuple], folder: Path) -> None:
    """Images a second of every contender, a panel for each batch and number of threads."""
    panels = {}
    for variant, batch, threads, name, *figures in reversed(rows):  # so that the first is on top
        title = f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}"
        panels.setdefault(title, {}).setdefault(variant, []).append((figures[4], name))
    styles = {row[0]: {"ls": ""} for row in rows}
    path = folder / "cpu_inference.png"
    draw_lines(path, panels, "images/s", styles=styles, has_log_x=True, shares_axes=True)


def define_flags() -> None:
    options.define_grid(ours.VARIANTS)
    options.define_race(turns=5)
    options.define_some_of("contenders", CONTENDERS)


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
