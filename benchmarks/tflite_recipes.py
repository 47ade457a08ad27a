"""Size, XNNPACK partitions and time of every TFLite recipe, as a Markdown table.

    python -m benchmarks.tflite_recipes
    python -m benchmarks.tflite_recipes --variants=LeViT256 --keep=FOLDER

Random weights, BatchNorm state and attention biases, calibrated on scikit-learn's photographs; time
depends on none of them. One picture, one thread, all files of a variant in turns in this process;
the numbers are medians over the turns, and seconds are of the processor's time, which other
programs on the machine stretch only by using its caches. Errors are the largest of a logit relative
to the largest logit of Keras; those of int8 say little about a trained network.

The rows "FORCE_FP16" run the float32 file in LiteRT's CompiledModel with XNNPACK's flag of that
name, which computes in float16; it is quick only where the CPU has float16 arithmetic. Takes about
ten minutes on two cores.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

import levit_tf
from benchmarks.networks.ours import VARIANTS, levit
from benchmarks.support import options, results
from benchmarks.support.pictures import draw_bars
from converters.speed.turns import in_turns
from converters.tflite.calibration import calibration_images
from converters.tflite.conversion import to_tflite
from converters.tflite.recipes import RECIPES
from levit_common import cli

# XNNPACK's delegate flags: signed and unsigned int8, which are its usual ones, and FORCE_FP16.
FORCE_FP16 = 1 | 2 | 4
HALF = "fp32, FORCE_FP16"


def interpreted(path: Path, image: np.ndarray) -> tuple[Callable[[], None], int]:
    """A call of a file on one thread, and the number of XNNPACK partitions in it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    interpreter.set_tensor(details["index"], image.astype(details["dtype"]))
    partitions = [op["op_name"] for op in interpreter._get_ops_details()].count("DELEGATE")
    return interpreter.invoke, partitions


def half_precision(path: Path, threads: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """A float32 file computed in float16: image (1, h, w, 3) -> logits (classes,).

    Quick only where the CPU has float16 arithmetic (AVX512-FP16, ARMv8.2).
    """
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import CpuOptions, Options

    options = Options(
        hardware_accelerators=HardwareAccelerator.CPU,
        cpu_options=CpuOptions(num_threads=threads, xnnpack_flags=FORCE_FP16),
    )
    model = CompiledModel.from_file(str(path), options=options)
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    (shape,) = [d["shape"] for d in model.get_output_tensor_details("serving_default").values()]
    count = int(np.prod(shape))

    def run(image: np.ndarray) -> np.ndarray:
        inputs[0].write(np.ascontiguousarray(image, np.float32))
        model.run_by_index(0, inputs, outputs)
        return outputs[0].read(count, np.float32)

    return run


def rows(variant: str, folder: Path, turns: int) -> list[tuple]:
    """(variant, recipe, MB, partitions, ms, relative to fp32, error) of every recipe."""
    model = levit(variant, classifier_activation=None)
    images = calibration_images("photographs", model.input_shape[1:3])
    calls, facts = {}, {}
    for recipe in RECIPES:
        path = folder / f"{variant}-{recipe}.tflite"
        about = to_tflite(
            model,
            path,
            recipe=recipe,
            outputs="logits",
            calibration_images=images,
            overwrite=True,
        )
        calls[recipe], partitions = interpreted(path, images[:1])
        error = about["compared_with_keras"]["logits"]["relative_difference"]
        facts[recipe] = (about["bytes"] / 1e6, partitions, error)
    half = half_precision(folder / f"{variant}-fp32.tflite")
    calls[HALF] = lambda: half(images[:1])
    expected = model.predict(levit_tf.preprocess_input(images), verbose=0)
    found = np.stack([half(image[None]) for image in images])
    error = np.abs(found - expected).max() / np.abs(expected).max()
    facts[HALF] = (facts["fp32"][0], None, error)
    ms = {name: one.cpu_ms for name, one in in_turns(calls, turns).items()}
    return [
        (variant, name, size, partitions, ms[name], ms[name] / ms["fp32"], error)
        for name, (size, partitions, error) in facts.items()
    ]


def main() -> None:
    args = flags.FLAGS
    found = []
    with contextlib.ExitStack() as stack:
        folder = args.keep or stack.enter_context(tempfile.TemporaryDirectory())
        for variant in args.variants:
            found += rows(variant, Path(folder), args.turns)
    columns = ("variant", "recipe", "MB", "partitions", "ms", "relative to fp32", "largest error")
    output = results.publish("tflite_recipes", columns, found, args.output)
    ratios = {f"{row[0]} {row[1]}": row[5] for row in found}
    draw_bars(output / "tflite_recipes.png", ratios, "time, of the variant's own fp32")


def define_flags() -> None:
    flags.DEFINE_list("variants", list(VARIANTS), "Variants to measure.")
    flags.DEFINE_string("keep", None, "Folder to keep the files in.")
    flags.DEFINE_integer("turns", 40, "Timed calls of each file.", lower_bound=1)
    options.define_output()


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
