"""Inference time of one LeViT in every CPU runtime, in alternating processes, as Markdown tables.

    python -m benchmarks.cpu_peers --variant=LeViT256 --batch=1 --threads=1
    python -m benchmarks.cpu_peers --variant=LeViT256 --batch=16 \\
        --contenders=tensorflow,tensorflow_bf16,openvino,openvino_bf16

Every contender runs in a process of its own, pinned to as many cores as it has threads; they take
turns, so that each has the caches and the core to itself, and the numbers are medians over the
turns. Random weights and pictures, on which time does not depend. The peers ONNX Runtime and
OpenVINO run the ONNX file of `converters.to_onnx`; OpenVINO's int8 is quantised by NNCF with its
settings for transformers. Needs openvino and nncf. Takes three minutes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from converters import cli

Run = Callable[[], object]
CONTENDERS = (
    *("tflite_fp32", "tflite_dynamic", "tflite_int8", "tflite_int8_full", "tflite_fp16_compute"),
    *("tensorflow", "tensorflow_bf16", "onnxruntime", "openvino", "openvino_bf16"),
    "openvino_int8",
)


def write_files(folder: Path, variant: str, contenders: list[str]) -> None:
    """The network in the formats that the contenders read."""
    import keras

    import levit_tf
    from converters.calibration import calibration_images
    from converters.recipes import RECIPES
    from converters.to_onnx import to_onnx
    from converters.to_saved_model import to_saved_model
    from converters.to_tflite import to_tflite
    from tests.randomize import randomize_keras

    keras.utils.set_random_seed(0)
    model = levit_tf.LeViT(variant)
    randomize_keras(model)
    if "tensorflow" in contenders:
        to_saved_model(model, folder / "tensorflow")
    if "tensorflow_bf16" in contenders:
        to_saved_model(model, folder / "tensorflow_bf16", precision="bfloat16")
    if any(not name.startswith("t") for name in contenders):
        to_onnx(model, folder / "model.onnx")
    for name in {_recipe(name) for name in contenders if name.startswith("tflite")}:
        images = None
        if RECIPES[name].calibrated:
            images = calibration_images("photographs", model.input_shape[1:3])
        # Logits: of an untrained network, probabilities are all nearly the same.
        path = folder / f"{name}.tflite"
        to_tflite(model, path, recipe=name, outputs="logits", calibration_images=images)


def _recipe(contender: str) -> str:
    name = contender.removeprefix("tflite_")
    return "fp32" if name == "fp16_compute" else name


def prepare(contender: str, folder: Path, images: np.ndarray, threads: int) -> Run:
    """One contender: a function that classifies `images`, (batch, height, width, 3) float32."""
    if contender == "tflite_fp16_compute":
        from benchmarks.tflite_recipes import half_precision

        run = half_precision(folder / "fp32.tflite")
        return lambda: run(images)
    if contender.startswith("tflite"):
        return _tflite(folder / f"{_recipe(contender)}.tflite", images, threads)
    if contender.startswith("tensorflow"):
        return _tensorflow(folder / contender, images, threads)
    if contender == "onnxruntime":
        return _onnxruntime(folder / "model.onnx", images, threads)
    return _openvino(folder / "model.onnx", images, threads, contender.removeprefix("openvino"))


def _tflite(path: Path, images: np.ndarray, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    interpreter.set_tensor(details["index"], images.astype(details["dtype"]))
    return interpreter.invoke


def _tensorflow(path: Path, images: np.ndarray, threads: int) -> Run:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    loaded = tf.saved_model.load(str(path))
    serve, images = loaded.signatures["serving_default"], tf.constant(images)
    return lambda: (loaded, serve(images=images)["logits"].numpy())


def _onnxruntime(path: Path, images: np.ndarray, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return lambda: session.run(["logits"], {"images": images})


def _openvino(path: Path, images: np.ndarray, threads: int, kind: str) -> Run:
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape(list(images.shape))
    if kind == "_int8":
        import nncf

        rng = np.random.default_rng(1)
        pictures = [rng.uniform(0, 255, images.shape).astype(np.float32) for _ in range(30)]
        data = nncf.Dataset(pictures)
        model = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16" if kind == "_bf16" else "f32",
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(images))
    return lambda: request.infer(share_outputs=True)


def work(contender: str, folder: Path, size: int) -> None:
    """A contender's process: for every line that comes in, some calls; their times go out."""
    args = flags.FLAGS
    shape = (args.batch, size, size, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).round().astype(np.float32)
    run = prepare(contender, folder, images, args.threads)
    for _ in range(3):
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        count = int(line)
        run()  # not counted: the caches are still another contender's
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"result {wall / count} {cpu / count}", flush=True)


class Contender:
    """A process that waits for its turn."""

    def __init__(self, name: str, folder: Path):
        args = flags.FLAGS
        cores = sorted(os.sched_getaffinity(0))[: args.threads]
        command = [sys.executable, "-m", "benchmarks.cpu_peers", f"--worker={name}"]
        command += [f"--folder={folder}", f"--variant={args.variant}"]
        command += [f"--batch={args.batch}", f"--threads={args.threads}"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.name = name
        self.times: list[tuple[float, float]] = []
        self._answer("ready")

    def turn(self, calls: int) -> None:
        """Measures some calls."""
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        self.times.append(tuple(float(value) for value in self._answer("result").split()[1:]))

    def median(self, which: int) -> float:
        """Milliseconds of a call: 0 for wall time, 1 for time of the processor."""
        return 1e3 * statistics.median(times[which] for times in self.times)

    def stop(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self, kind: str) -> str:
        for line in self._process.stdout:
            if line.startswith(kind):
                return line
        raise ValueError(f"{self.name} has failed with exit code {self._process.wait()}; see above")


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    from levit_tf.variants import get_variant

    size = get_variant(args.variant).input_size
    if args.worker:
        work(args.worker, Path(args.folder), size)
        return
    unknown = [name for name in args.contenders if name not in CONTENDERS]
    if unknown:
        known = ", ".join(CONTENDERS)
        raise ValueError(f"--contenders: expected some of {known}. Received: {unknown[0]}")
    contenders = [c for c in args.contenders if args.batch == 1 or not c.startswith("tflite")]
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), args.variant, contenders)
        processes = [Contender(name, Path(folder)) for name in contenders]
        for _ in range(args.turns):
            for process in processes:
                process.turn(args.calls)
    print(f"{args.variant}, batch {args.batch}, {args.threads} threads\n")
    print("| contender | ms, wall | ms, CPU | ratio to first | lowest, wall | highest, wall |")
    print("|---|---:|---:|---:|---:|---:|")
    for process in processes:
        walls = [1e3 * wall for wall, _ in process.times]
        ratio = process.median(0) / processes[0].median(0)
        print(
            f"| {process.name} | {process.median(0):.2f} | {process.median(1):.2f} | {ratio:.2f} "
            f"| {min(walls):.2f} | {max(walls):.2f} |"
        )
        process.stop()


def define_flags() -> None:
    flags.DEFINE_string("variant", "LeViT256", "Which network.")
    flags.DEFINE_integer("batch", 1, "Pictures in a call. TFLite files take one.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Of each contender.", lower_bound=1)
    flags.DEFINE_integer("turns", 11, "Of each contender.", lower_bound=1)
    flags.DEFINE_integer("calls", 10, "In a turn.", lower_bound=1)
    flags.DEFINE_list("contenders", list(CONTENDERS), f"Some of: {', '.join(CONTENDERS)}.")
    flags.DEFINE_string("worker", None, "Used by the benchmark itself.")
    flags.DEFINE_string("folder", None, "Used by the benchmark itself.")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
