"""Opens a file of any supported format for a comparison."""

from __future__ import annotations

import os
from pathlib import Path

from converters.choices import VERIFIED
from converters.verification import verify_graphs, verify_keras
from converters.verification.verify_artefact import Artefact
from levit_common.choices import PYTORCH_FILES
from levit_common.model_sources import is_name
from levit_tf.applications import load_by_name
from levit_tf.weights.keras_files import model_path


def open_artefact(
    path: str | os.PathLike,
    checkpoint_size: tuple[int, int] | None = None,
    checkpoint_key: str | None = None,
    input_range: str | None = None,
    trust: bool = False,
) -> Artefact:
    """Opens a file according to its format.

    Args:
      path: a file as described in `converters.choices.VERIFIED`.
      checkpoint_size: (height, width) of the pictures that a PyTorch checkpoint was trained on, if
        they are not square.
      checkpoint_key: key of the state dict in a PyTorch checkpoint that holds several.
      input_range: input range of a `.keras` model whose graph does not note it: a name in
        `levit_tf.preprocessing.INPUT_RANGES`.
      trust: whether a SavedModel may have operations with effects outside the model.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or not of the formats in `converters.choices.VERIFIED`.
      ImportError: the package that reads this format is not installed.
    """
    if is_name(path):
        model = load_by_name(path, expected=VERIFIED)
        return verify_keras.model_artefact(model, os.fspath(path), input_range)
    path = Path(model_path(path))
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Expected {VERIFIED}.")
    if path.is_dir():
        return verify_graphs.saved_model_artefact(path, trust)
    if suffix in PYTORCH_FILES:
        return verify_keras.checkpoint_artefact(path, checkpoint_size, checkpoint_key)
    if suffix == ".keras":
        return verify_keras.keras_artefact(path, input_range)
    readers = {
        ".tflite": verify_graphs.tflite_artefact,
        ".onnx": verify_graphs.onnx_artefact,
    }
    if suffix not in readers:
        raise ValueError(f"{path}: unknown kind of file. Expected {VERIFIED}.")
    return readers[suffix](path)
