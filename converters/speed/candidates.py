"""Candidates that a Keras model can be converted to: file, runtime and conversion command."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.choices import PLACES
from converters.onnx.recipes import MAPS, TOKENS
from converters.speed import runtimes

if TYPE_CHECKING:
    import keras

THIS_MACHINE, ANDROID, TF_SERVING = PLACES


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to export and run a model.

    Attributes:
      name: readable name: runtime and number format.
      places: targets that it is suitable for, from `PLACES`.
      file: file name; candidates with the same file share it.
      command: command that writes the file, without the flags that all commands have.
      write: function that writes the file from (model, path, calibration pictures, options of all
        converters).
      run: function that opens the file for pictures and a number of threads.
      is_exact: whether it computes in float32.
      package: package that it needs in addition to those of the converters.
    """

    name: str
    places: tuple[str, ...]
    file: str
    command: str
    write: Callable[[keras.Model, Path, np.ndarray, dict[str, Any]], object]
    run: Callable[[Path, np.ndarray, int], runtimes.Run]
    is_exact: bool = False
    package: str | None = None

    @property
    def is_installed(self) -> bool:
        """Returns whether its runtime can be imported."""
        return self.package is None or importlib.util.find_spec(self.package) is not None


def _tflite(recipe: str, places: tuple[str, ...]) -> Candidate:
    def write(model, path, images, options):
        from converters.tflite.conversion import to_tflite

        to_tflite(model, path, recipe=recipe, calibration_images=images, **options)

    return Candidate(
        f"TFLite {recipe}",
        places,
        f"{recipe}.tflite",
        f"converters.to_tflite --recipe={recipe}",
        write,
        runtimes.open_tflite,
        is_exact=recipe == "fp32",
    )


def _saved_model(precision: str) -> Candidate:
    def write(model, path, images, options):
        from converters.saved_model.conversion import to_saved_model

        to_saved_model(model, path, precision=precision, **options)

    return Candidate(
        f"TensorFlow {precision}",
        (THIS_MACHINE, TF_SERVING),
        f"saved_model_{precision}",
        f"converters.to_saved_model --precision={precision}",
        write,
        runtimes.open_saved_model,
        is_exact=precision == "float32",
    )


def _onnx(
    name: str,
    package: str,
    run: Callable,
    is_exact: bool = True,
    recipe: str = "fp32",
    layout: str = TOKENS,
) -> Candidate:
    def write(model, path, images, options):
        from converters.onnx.conversion import to_onnx

        to_onnx(model, path, recipe=recipe, layout=layout, calibration_images=images, **options)

    return Candidate(
        name,
        (THIS_MACHINE,),
        f"{recipe}-{layout}.onnx",
        f"converters.to_onnx --recipe={recipe} --layout={layout}",
        write,
        run,
        is_exact,
        package,
    )


def _openvino_bfloat16(path: Path, images: np.ndarray, threads: int) -> runtimes.Run:
    return runtimes.open_openvino(path, images, threads, "bf16")


CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        _tflite("fp32", (THIS_MACHINE, ANDROID)),
        _tflite("fp16", (ANDROID,)),
        _tflite("dynamic", (THIS_MACHINE, ANDROID)),
        _tflite("int8", (THIS_MACHINE, ANDROID)),
        _onnx("ONNX Runtime", "onnxruntime", runtimes.open_onnxruntime, layout=MAPS),
        _onnx("ONNX Runtime int8", "onnxruntime", runtimes.open_onnxruntime, False, "int8"),
        _onnx("OpenVINO float32", "openvino", runtimes.open_openvino),
        _onnx("OpenVINO bfloat16", "openvino", _openvino_bfloat16, is_exact=False),
        _onnx("OpenVINO int8", "openvino", runtimes.open_openvino, False, "int8"),
        _saved_model("float32"),
        _saved_model("bfloat16"),
    )
}
