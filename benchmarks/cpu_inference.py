"""Inference of LeViT in every CPU runtime and every implementation, in alternating processes.

    python -m benchmarks.cpu_inference
    python -m benchmarks.cpu_inference --variants=LeViT256 --batches=1 --threads=1 \\
        --contenders=tflite_fp32,tflite_int8,onnxruntime,openvino,openvino_int8

Each contender runs in a process of its own, pinned to as many cores as it has threads; they take
turns, so that each has the caches and the cores to itself, and the numbers are medians over the
turns. Random weights and pictures, on which time does not depend.

ONNX Runtime and OpenVINO run the file of `converters.to_onnx`; OpenVINO's int8 is NNCF's with its
settings for transformers. `torch_*` is timm's LeViT with BatchNorm folded, as the official
speed_test.py does it, and traced and frozen, or compiled; `timm` and `transformers` are as their
users get them, `kecam` (keras_cv_attention_models) is what its own tools make for inference. TFLite
files take one picture a call, so a batch is so many calls. A GFLOP/s counts two operations a
multiply-add, and the share is of the float32 matrix product of 2048x2048 that NumPy reaches on the
same cores in the same run.

Needs the [bench] extra. All of it takes over an hour, most of it torch.compile.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import peers, results
from converters.speed import runtimes
from converters.speed.turns import Contender, Times, race, serve_turns
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


def write_files(folder: Path, variant: str, contenders: list[str]) -> None:
    """The network in the formats that the contenders read."""
    import keras

    import levit_tf
    from converters.choices import RECIPES
    from converters.onnx.conversion import to_onnx
    from converters.saved_model.conversion import to_saved_model
    from converters.tflite.calibration import calibration_images
    from converters.tflite.conversion import to_tflite
    from tests.support.randomize import randomize_keras

    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT(variant)
    randomize_keras(model)
    if "tensorflow" in contenders:
        to_saved_model(model, folder / "tensorflow")
    if "tensorflow_bf16" in contenders:
        to_saved_model(model, folder / "tensorflow_bf16", precision="bfloat16")
    if any(name.startswith(("onnx", "openvino")) for name in contenders):
        to_onnx(model, folder / "model.onnx")
    if "openvino_int8" in contenders:
        rng, shape = np.random.default_rng(1), (1, *model.input_shape[1:])
        # Random ones, as time does not depend on them.
        batches = [rng.uniform(0, 255, shape).astype(np.float32) for _ in range(30)]
        peers.quantize_for_openvino(folder / "model.onnx", folder / "int8.xml", batches)
    for name in {_recipe(name) for name in contenders if name in TFLITE}:
        images = None
        if RECIPES[name].calibrated:
            images = calibration_images("photographs", model.input_shape[1:3])
        # Logits: of an untrained network, probabilities are all nearly the same.
        path = folder / f"{name}.tflite"
        to_tflite(model, path, recipe=name, outputs="logits", calibration_images=images)


def _recipe(contender: str) -> str:
    name = contender.removeprefix("tflite_")
    return "fp32" if name == "fp16_compute" else name


def prepare(
    contender: str, variant: str, folder: Path, images: np.ndarray, threads: int
) -> runtimes.Run:
    """One contender: a function that classifies `images`, (batch, height, width, 3) float32."""
    if contender == PEAK:
        matrix = np.ones((_PEAK_SIDE, _PEAK_SIDE), np.float32)
        return lambda: matrix @ matrix
    if contender == "tflite_fp16_compute":
        from benchmarks.tflite_recipes import half_precision

        run = half_precision(folder / "fp32.tflite", threads)
        return lambda: run(images)
    if contender in TFLITE:
        return runtimes.open_tflite(folder / f"{_recipe(contender)}.tflite", images, threads)
    if contender.startswith("tensorflow"):
        return runtimes.open_saved_model(folder / contender, images, threads)
    if contender == "onnxruntime":
        return runtimes.open_onnxruntime(folder / "model.onnx", images, threads)
    if contender.startswith("openvino"):
        path = folder / ("int8.xml" if contender == "openvino_int8" else "model.onnx")
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
    from keras_cv_attention_models import levit, model_surgery

    model = getattr(levit, variant)(pretrained=None).switch_to_deploy()
    model = model_surgery.convert_to_fused_conv_bn_model(model)
    call = tf.function(lambda x: model(x, training=False))
    x = tf.constant(images / 255)
    return lambda: call(x).numpy()


def measure(variant: str, batch: int, threads: int, contenders: list[str], folder: Path):
    """Lets the contenders for one variant, batch size and number of threads take turns.

    Returns:
      Name -> `converters.speed.turns.Times`, with that of `PEAK`.
    """
    args = flags.FLAGS
    wanted = [name for name in contenders if batch == 1 or name in _ANY_BATCH]
    running = {}
    for name in (PEAK, *wanted):
        settings = [f"--worker={name}", f"--folder={folder}", f"--variants={variant}"]
        settings += [f"--batches={batch}", f"--threads={threads}"]
        running[name] = Contender(
            "benchmarks.cpu_inference", settings, threads, legacy_keras=name == "kecam"
        )
    return race(running, args.turns, args.seconds)


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
        size = get_variant(variant).input_size
        shape = (int(batch), size, size, 3)
        images = np.random.default_rng(0).uniform(0, 255, shape).round().astype(np.float32)
        serve_turns(prepare(args.worker, variant, Path(args.folder), images, int(threads)))
        return
    unknown = [name for name in args.contenders if name not in CONTENDERS]
    if unknown:
        known = ", ".join(CONTENDERS)
        raise ValueError(f"--contenders: expected some of {known}. Received: {unknown[0]}")
    rows = []
    for variant in args.variants:
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), get_variant(variant).name, args.contenders)
            for batch in map(int, args.batches):
                for threads in map(int, args.threads):
                    times = measure(variant, batch, threads, args.contenders, Path(folder))
                    rows += _rows(variant, batch, threads, times)
                    # What was measured is there, however the rest ends.
                    results.write("cpu_inference", COLUMNS, rows, args.output)
    _draw(rows, results.publish("cpu_inference", COLUMNS, rows, args.output))


def _draw(rows: list[tuple], folder: Path) -> None:
    """Images a second of every contender, a panel for each batch and number of threads."""
    from levit_common.figures import make_figure, save_figure

    panels = sorted({row[1:3] for row in rows})
    names = list(dict.fromkeys(row[3] for row in rows))
    columns = min(2, len(panels))
    rows_of_panels = -(-len(panels) // columns)
    figure = make_figure(5 * columns + 1, rows_of_panels * (0.3 * len(names) + 1))
    grid = figure.subplots(rows_of_panels, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (batch, threads) in zip(grid.flat, panels, strict=False):
        for variant in dict.fromkeys(row[0] for row in rows):
            found = {
                row[3]: row[8] for row in rows if (row[0], *row[1:3]) == (variant, batch, threads)
            }
            axes.plot(list(found.values()), [names.index(n) for n in found], "o", label=variant)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}")
        axes.grid(alpha=0.3)
    grid[0, 0].invert_yaxis()
    results.plain_log_ticks(grid[0, 0])
    grid[0, 0].legend(fontsize=7)
    figure.supxlabel("images/s")
    save_figure(figure, folder / "cpu_inference.png")


def define_flags() -> None:
    variants = ["LeViT128S", "LeViT128", "LeViT192", "LeViT256", "LeViT384"]
    flags.DEFINE_list("variants", variants, "Which networks.")
    flags.DEFINE_list("batches", ["1", "16"], "Pictures in a call.")
    flags.DEFINE_list("threads", ["1", "2"], "Of each contender.")
    flags.DEFINE_integer("turns", 5, "Of each contender.", lower_bound=1)
    flags.DEFINE_float("seconds", 0.3, "Of a turn, about.", lower_bound=0)
    flags.DEFINE_list("contenders", list(CONTENDERS), f"Some of: {', '.join(CONTENDERS)}.")
    results.define_output_flag()
    flags.DEFINE_string("worker", None, "Used by the benchmark itself.")
    flags.DEFINE_string("folder", None, "Used by the benchmark itself.")


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
