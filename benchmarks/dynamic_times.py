"""Times each path of a dynamic file and the plain network in the same runtime.

    python -m benchmarks.dynamic_times --model=exits.keras --files=DIR \\
        --calibration=imagefolder:PATH

MODEL is the network with exits, or the last one of a cascade, and DIR what `converters.to_dynamic`
has made of it. The plain network is exported anew in every format. One picture at a time, one
thread; the paths and the plain network take turns, and medians are taken: of the time on the clock,
and of the processor's, which tells them apart on a machine that has other work, too. For the
SavedModel also batches of 16: nothing leaves, and everything leaves at the first step. Writes
dynamic_times.json.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.support import options, results
from converters.choices import CALIBRATION
from converters.speed.turns import in_turns
from levit_common import cli

COLUMNS = ("file", "batch", "path", "ms", "CPU ms", "CPU ms, relative to the plain network")
BATCH = 16


def plain_networks(model, images: np.ndarray, folder: Path, names: Sequence[str]):
    """Dynamic file -> the plain network in the same runtime and precision, opened."""
    from converters.onnx.conversion import to_onnx
    from converters.saved_model.conversion import to_saved_model
    from converters.tflite.conversion import to_tflite
    from levit_lite.prediction.tflite_network import tflite_network
    from levit_tf.prediction.network_files import read_network

    for name in names:
        path = folder / name
        if name.endswith(".tflite"):
            to_tflite(model, path, recipe=path.stem, calibration_images=images)
            yield name, tflite_network(path, threads=1)
        elif name.endswith(".onnx"):
            to_onnx(model, path, batch_size=1)
            yield name, read_network(path, threads=1)
        else:
            to_saved_model(model, path)
            yield name, read_network(path)


def rows(model, folder: Path, images: np.ndarray, count: int):
    """Cells of `COLUMNS`."""
    from converters.dynamic.running import open_dynamic

    names = ("fp32.tflite", "int8.tflite", "model.onnx", "saved_model")
    names = [name for name in names if (folder / name).exists()]
    with tempfile.TemporaryDirectory() as scratch:
        for name, plain in plain_networks(model, images, Path(scratch), names):
            file = open_dynamic(folder / name, threads=1)
            for size in (1, BATCH) if name == "saved_model" else (1,):
                batch = np.float32(images[:size])
                calls = {"plain network": partial(plain.outputs, batch)}
                for step, call in file.calls_of_paths(batch).items():
                    is_last = step + 1 == file.steps
                    path = "nothing leaves" if is_last else f"all leave at exit {step}"
                    calls[path] = call
                found = in_turns(calls, count)
                whole = found["plain network"].cpu_ms
                for path, times in found.items():
                    yield name, size, path, times.ms, times.cpu_ms, times.cpu_ms / whole


def main() -> None:
    from converters.dynamic.running import use_one_thread
    from converters.tflite.calibration import calibration_images
    from levit_tf.weights.keras_files import load_keras_file

    use_one_thread()
    args = flags.FLAGS
    model = load_keras_file(args.model)
    images = calibration_images(args.calibration, model.inputs[0].shape[1:3])
    found = list(rows(model, Path(args.files), images, args.turns))
    results.publish("dynamic_times", COLUMNS, found, args.output)


def define_flags() -> None:
    flags.DEFINE_string("model", None, "The network with exits, or the last one of a cascade.")
    flags.DEFINE_string("files", None, "Folder of converters.to_dynamic.")
    flags.DEFINE_string("calibration", "photographs", f"For the plain int8 file: {CALIBRATION}.")
    flags.DEFINE_integer("turns", 100, "How often each is run.", lower_bound=1)
    options.define_output()
    flags.mark_flags_as_required(["model", "files"])


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
