"""Runs TFLite files as networks with LiteRT, which is imported when the first file is opened."""

from __future__ import annotations

import zipfile
from pathlib import Path

from levit_common.regular_files import ModelFileError, first_line
from levit_common.shipped_names import INPUT, SIGNATURE
from levit_lite.class_names import LABELS_FILE, MAX_LABELS_BYTES, composed
from levit_lite.opening.archives import DAMAGE, check_archive
from levit_lite.opening.tflite_files import check_tflite_file
from levit_lite.opening.tflite_probe import check_tflite_runs
from levit_lite.prediction.network import Network, image_shape, unexpected_signature
from levit_lite.prediction.quantized_values import dequantize, quantize


def open_tflite(path: Path, threads: int | None = None, run_first: bool = True):
    """Loads a TFLite file.

    Args:
      path: an existing file.
      threads: number of threads for LiteRT; by default LiteRT chooses it.
      run_first: whether the file is first run in a separate process, because a bad file can crash
        LiteRT. Without this, opening takes half the time, but may crash the process.

    Returns:
      LiteRT's `Interpreter`.

    Raises:
      ModelFileError: it is damaged, of another kind, or cannot be run.
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
    except Exception as error:  # A damaged file can raise many types of errors.
        raise ModelFileError(
            f"{path}: cannot be loaded as a TFLite file; truncated, or another kind of file? "
            f"{first_line(error)}"
        ) from error
    return interpreter


def tflite_network(path: Path, threads: int | None = None, run_first: bool = True) -> Network:
    """Opens a TFLite file as a network; arguments and errors as in `open_tflite`.

    Raises:
      ModelFileError: also if the file does not have the signature that this package writes.
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
        packed_labels(path),
        interpreter,
    )


def packed_labels(path: Path) -> tuple[str, ...] | None:
    """Reads class names from the zip archive at the end of a TFLite file; None without any."""
    if not zipfile.is_zipfile(path):
        return None
    check_archive(path, {LABELS_FILE: MAX_LABELS_BYTES})
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.read(LABELS_FILE).decode("utf-8").rstrip("\n").split("\n")
            return tuple(map(composed, names))
    except (*DAMAGE, KeyError):
        return None
