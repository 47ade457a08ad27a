"""Writes a TFLite file with metadata, compares it with Keras, and writes a JSON next to it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import levit_tf
from converters.tflite.metadata import with_metadata
from converters.tflite.tflite_check import check
from converters.tflite.tflite_graph import Graph
from converters.verification.verify_artefact import Artefact
from levit_common.json_files import write_json

_PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "ai-edge-quantizer")


def write_tflite(
    path: str | os.PathLike,
    graph: Graph,
    reference: Artefact,
    about: Mapping[str, Any],
    *,
    json_path: str | os.PathLike,
    name: str,
    class_names: Sequence[str] | None,
    images: np.ndarray | None = None,
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Writes a TFLite file with metadata, compares it with Keras, and writes a JSON about it.

    Args:
      path: the file to write, usually the temporary one of `levit_common.files.atomic_path`.
      graph: graph of the file, without metadata.
      reference: the original model, see `converters.tflite.tflite_check.check`.
      about: entries of the JSON on how the file was made; "description" is also added to the file.
      json_path: the JSON to write. An existing one is always replaced, because it describes the
        file that is replaced too.
      name: name of the model, for the metadata.
      class_names: class names in the order of the outputs; None if it is not a classifier.
      images: see `converters.tflite.tflite_check.check`.
      tolerance: see `converters.tflite.tflite_check.check`.

    Returns:
      The content of the JSON.

    Raises:
      ImportError, ValueError: see `converters.tflite.tflite_check.check`.
    """
    content = with_metadata(
        graph, name=name, description=about["description"], class_names=class_names
    )
    Path(path).write_bytes(content)
    report = {
        **about,
        "model": name,
        "outputs": graph.signature_outputs(),
        "sha256": sha256(path),
        "bytes": len(content),
        "compared_with_keras": check(path, reference, images, tolerance),
        "versions": {"levit_tf": levit_tf.__version__, **_versions()},
    }
    write_json(json_path, report)
    return report


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
