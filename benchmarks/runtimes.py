"""Runs a file in a CPU runtime: `open_file` gives a function that classifies one batch again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Run = Callable[[], object]


def open_tflite(path: Path, images: np.ndarray, threads: int) -> Run:
    """A TFLite file of one picture in LiteRT's interpreter, with XNNPACK: a call for each image."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    pictures = images.astype(details["dtype"])[:, np.newaxis]  # (batch, 1, height, width, 3)

    def run():
        for picture in pictures:
            interpreter.set_tensor(details["index"], picture)
            interpreter.invoke()

    return run


def open_saved_model(
    path: Path, images: np.ndarray, threads: int, mixed_precision: bool = False
) -> Run:
    """A SavedModel in TensorFlow.

    Args:
      path: its directory; it has one signature, of one input.
      images: the input.
      threads: of an operation; operations run one after the other.
      mixed_precision: whether TensorFlow's own rewriting to bfloat16 is on.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if mixed_precision:
        options = {"auto_mixed_precision_onednn_bfloat16": True}
        tf.config.optimizer.set_experimental_options(options)
    loaded = tf.saved_model.load(str(path))
    (serve,) = loaded.signatures.values()
    ((name, _),) = serve.structured_input_signature[1].items()
    images = tf.constant(images)
    return lambda: (loaded, [y.numpy() for y in serve(**{name: images}).values()])


def open_onnxruntime(path: Path, images: np.ndarray, threads: int) -> Run:
    """An ONNX file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    (name,) = (x.name for x in session.get_inputs())
    first = session.get_outputs()[0].name
    return lambda: session.run([first], {name: images})


def quantize_for_openvino(path: Path, output: Path, batches: Sequence[np.ndarray]) -> None:
    """An ONNX file to OpenVINO's own, int8 by NNCF with its settings for transformers.

    Args:
      path: the ONNX file.
      output: ends in ".xml"; the weights go beside it.
      batches: inputs to calibrate with.
    """
    import nncf
    import openvino

    model = openvino.Core().read_model(path)
    model = nncf.quantize(model, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(model, output)


def open_openvino(path: Path, images: np.ndarray, threads: int, precision: str = "f32") -> Run:
    """An ONNX file, or one of OpenVINO's own, in OpenVINO.

    Args:
      path: the file.
      images: the input.
      threads: of an inference.
      precision: "f32" or "bf16", of what is not quantised.
    """
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape(list(images.shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(images))
    return lambda: request.infer(share_outputs=True)


def open_torch(module, images: np.ndarray, threads: int, form: str = "eager") -> Run:
    """A PyTorch module in evaluation mode.

    Args:
      module: takes normalised pictures, (batch, 3, height, width).
      images: (batch, height, width, 3).
      threads: of an operation.
      form: "eager", "traced" (frozen, as the official speed_test.py traces), or "compiled".
    """
    import torch

    torch.set_num_threads(threads)
    # (batch, height, width, 3) -> (batch, 3, height, width)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))) / 255
    module = module.eval()
    with torch.inference_mode():
        if form == "traced":
            module = torch.jit.freeze(torch.jit.trace(module, x))
        elif form == "compiled":
            module = torch.compile(module)

    def run():
        with torch.inference_mode():
            return module(x)

    return run
