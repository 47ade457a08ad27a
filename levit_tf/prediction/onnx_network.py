"""Opens ONNX files and runs them as networks of plain RGB pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from levit_common.regular_files import ModelFileError, first_line
from levit_common.shipped_names import INPUT, SIGNATURE
from levit_lite.class_names import composed
from levit_lite.prediction.network import Network, image_shape, unexpected_signature
from levit_tf.opening.onnx_files import check_onnx_file, session_options
from levit_tf.preprocessing import INPUT_RANGES, InputRange

# Keys in the metadata: one name per line; a name in `levit_tf.preprocessing.INPUT_RANGES`.
CLASS_NAMES_KEY, INPUT_RANGE_KEY = "class_names", "input_range"
ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def onnx_network(path: Path, threads: int | None = None) -> Network:
    """Opens an ONNX file as a network of plain RGB pictures.

    Args:
      path: see `open_onnx`.
      threads: see `open_onnx`.

    Raises:
      ModelFileError: as for `open_onnx`; or it has other inputs.
      ImportError: ONNX Runtime is not installed.
    """
    session = open_onnx(path, threads)
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    shapes = {tensor.name: fixed_sides(tensor.shape) for tensor in session.get_outputs()}
    if list(inputs) != [INPUT]:
        # An ONNX file has one graph and no names of signatures.
        raise unexpected_signature({SIGNATURE: (list(inputs), list(shapes))}, path)
    dtype = ONNX_TYPES.get(inputs[INPUT].type)
    if dtype is None:
        raise ModelFileError(
            f"{path}: expected an input of type {' or '.join(ONNX_TYPES)}. Found: "
            f"{inputs[INPUT].type}"
        )

    def outputs(images):
        found = session.run(list(shapes), {INPUT: images.astype(dtype)})
        return {name: y.astype(np.float32) for name, y in zip(shapes, found, strict=True)}

    input_shape = image_shape(fixed_sides(inputs[INPUT].shape), path)
    return Network(str(path), outputs, input_shape, shapes, onnx_labels(session), session)


def open_onnx(path: Path, threads: int | None = None):
    """Loads an ONNX file.

    Args:
      path: an existing file.
      threads: number of threads; by default ONNX Runtime chooses it.

    Returns:
      ONNX Runtime's `InferenceSession`, on the CPU.

    Raises:
      ModelFileError: it is damaged, of another kind, or could do harm.
      ImportError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f'{path}: an .onnx file needs ONNX Runtime: pip install "levit_tf[onnx]"'
        ) from error
    check_onnx_file(path)
    try:
        return onnxruntime.InferenceSession(
            str(path), session_options(threads), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # A damaged file can raise many types of errors.
        raise ModelFileError(
            f"{path}: cannot be loaded as an ONNX file; truncated, or another kind of file? "
            f"{first_line(error)}"
        ) from error


def onnx_labels(session) -> tuple[str, ...] | None:
    """Reads the class names in the metadata of an opened ONNX file; None without any."""
    text = session.get_modelmeta().custom_metadata_map.get(CLASS_NAMES_KEY)
    return tuple(map(composed, text.split("\n"))) if text else None


def onnx_input_range(session) -> InputRange | None:
    """Returns what the metadata of an opened ONNX file say of its images; None if nothing."""
    return INPUT_RANGES.get(session.get_modelmeta().custom_metadata_map.get(INPUT_RANGE_KEY))


def fixed_sides(shape: Sequence[int | str | None]) -> tuple[int | None, ...]:
    """Returns a shape with None for the free dimensions, for which ONNX has names."""
    return tuple(side if isinstance(side, int) else None for side in shape)
