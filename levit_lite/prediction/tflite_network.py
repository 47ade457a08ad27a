"""TFLite files as networks, run by LiteRT, which is imported when the first one is opened."""

from __future__ import annotations

import zipfile
from pathlib import Path

from levit_common.regular_files import ModelFileError, first_line
from levit_common.shipped_names import INPUT, SIGNATURE
from levit_lite.class_names import LABELS_FILE, MAX_LABELS_BYTES
from levit_lite.opening.archives import DAMAGE, check_archive
from levit_lite.opening.tflite_files import check_tflite_file
from levit_lite.opening.tflite_probe import check_tflite_runs
from levit_lite.prediction.network import Network, image_shape, unexpected_signature
from levit_lite.prediction.quantized_values import dequantize, quantize


def open_tflite(path: Path, threads: int | None = None, run_first: bool = True):
    """Loads a TFLite file.

    Args:
      path: an existing file.
      threads: that LiteRT computes with; its own choice by default.
      run_first: whether it is first run in a process of its own, as LiteRT may die of what a file
        holds. Without, it takes half the time, and is for who can afford to die of it.

    Returns:
      LiteRT's `Interpreter`.

    Raises:
      ModelFileError: it is damaged, or something else, or cannot be run.
      ImportError: LiteRT is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            f"{path}: a .tflite file needs LiteRT: pip install ai-edge-litert"
        ) from error
    check_tflite_file(path)
    if run_first:
        check_tflite_runs(path)
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
        interpreter.get_signature_list()
    except Exception as error:  # As with .keras files: errors of many types.
        raise ModelFileError(
            f"{path}: cannot be loaded as a TFLite file; truncated, or another kind of file? "
            f"{first_line(error)}"
        ) from error
    return interpreter


def tflite_network(path: Path, threads: int | None = None, run_first: bool = True) -> Network:
    """A file's network; what it takes and raises is `open_tflite`'s.

    Raises:
      ModelFileError: also where it has no signature as this package writes it.
    """
    interpreter = open_tflite(path, threads, run_first)
    found = {
        name: (signature["inputs"], signature["outputs"])
        for name, signature in interpreter.get_signature_list().items()
    }
    if list(found.get(SIGNATURE, ((), ()))[0]) != [INPUT]:
        raise unexpected_signature(found, path)
    runner = interpreter.get_signature_runner(SIGNATURE)
    image = runner.get_input_details()[INPUT]
    details = runner.get_output_details()

    def outputs(images):
        found = runner(**{INPUT: quantize(images, image)})
        return {name: dequantize(y, details[name]) for name, y in found.items()}

    input_shape = tuple(map(int, image["shape"]))
    shapes = {name: tuple(map(int, detail["shape"])) for name, detail in details.items()}
    return Network(
        str(path),
        outputs,
        image_shape(input_shape, path),
        shapes,
        _packed_labels(path),
        interpreter,
    )


def _packed_labels(path: Path) -> tuple[str, ...] | None:
    """Class names in the zip archive at the end of a TFLite file."""
    if not zipfile.is_zipfile(path):
        return None
    check_archive(path, {LABELS_FILE: MAX_LABELS_BYTES})
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.read(LABELS_FILE).decode("utf-8").rstrip("\n").split("\n"))
    except (*DAMAGE, KeyError):
        return None
