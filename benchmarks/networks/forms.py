"""Forms that networks are measured in, a runtime and a precision each, and their pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.speed import runtimes

OPENVINO = "openvino.onnx"  # what OpenVINO runs in float32

# Form -> the name of its file; of PEERS_TOO, a peer's may be the quicker one; OUR_FILES are our own
# recipe's, beside what the runtime's own quantiser makes of our network.
PEERS_TOO = {"TFLite int8": "dynamic.tflite"}
OUR_FILES = {"OpenVINO int8": "int8.onnx"}
TFLITE = {"TFLite fp32": "fp32.tflite", "TFLite int8": "int8.tflite"}
ONNX = {
    "ONNX Runtime fp32": "fp32.onnx",
    "ONNX Runtime int8": "int8.onnx",
    "OpenVINO fp32": OPENVINO,
    "OpenVINO int8": "int8.xml",
}
FORMS = {**TFLITE, "TensorFlow fp32": "saved_model", **ONNX}


def open_form(
    form: str, folder: Path, images: np.ndarray, threads: int, file: str | None = None
) -> runtimes.Run:
    """Opens a network's file of one of `FORMS`, from the folder of its files.

    Args:
      form: the form.
      folder: of the network's files.
      images: the pictures of a call.
      threads: number of threads.
      file: name of the file; None for that of the form.
    """
    open_file = {
        "TFLite": runtimes.open_tflite,
        "TensorFlow": runtimes.open_saved_model,
        "ONNX Runtime": runtimes.open_onnxruntime,
        "OpenVINO": runtimes.open_openvino,
    }[form.rpartition(" ")[0]]
    return open_file(folder / (file or FORMS[form]), images, threads)


def random_pictures(
    count: int, side: int, channels_first: bool = False, seed: int = 0
) -> np.ndarray:
    """Pictures of noise, on which time does not depend.

    Args:
      count: how many.
      side: height and width, pixels.
      channels_first: whether they are as PyTorch's networks take them.
      seed: of the noise.

    Returns:
      float32: (count, side, side, 3) of 0..255, or (count, 3, side, side) of 0..1.
    """
    shape = (count, 3, side, side) if channels_first else (count, side, side, 3)
    pictures = np.random.default_rng(seed).random(shape, np.float32)  # memory is measured, too
    return pictures if channels_first else np.multiply(pictures, 255, out=pictures)
