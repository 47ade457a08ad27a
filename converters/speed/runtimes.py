"""Runs a file in a CPU runtime: each function here returns a function that runs one batch.

The returned function returns the last output, (batch, ...): the probabilities, for files of this
package.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

Run = Callable[[], np.ndarray]


def open_tflite(path: Path, images: np.ndarray, threads: int) -> Run:
    """Opens a TFLite file for one picture in LiteRT with XNNPACK; it is called for each image."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    output = interpreter.get_output_details()[-1]["index"]
    pictures = images.astype(details["dtype"])[:, np.newaxis]  # (batch, 1, height, width, 3)

    def run():
        found = []
        for picture in pictures:
            interpreter.set_tensor(details["index"], picture)
            interpreter.invoke()
            found.append(interpreter.get_tensor(output))
        return np.concatenate(found)

    return run


def open_saved_model(
    path: Path, images: np.ndarray, threads: int, mixed_precision: bool = False
) -> Run:
    """Opens a SavedModel in TensorFlow.

    Args:
      path: directory of the SavedModel, which has one signature with one input.
      images: the input.
      threads: number of threads per operation; operations run one after another.
      mixed_precision: whether TensorFlow's own rewriting to bfloat16 is enabled.
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

    def run():
        return [y.numpy() for y in serve(**{name: images}).values()][-1]

    run.model = loaded  # keeps the variables alive
    return run


def open_onnxruntime(path: Path, images: np.ndarray, threads: int) -> Run:
    """Opens an ONNX file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    (name,) = (x.name for x in session.get_inputs())
    last = session.get_outputs()[-1].name
    return lambda: session.run([last], {name: images})[0]


def open_openvino(path: Path, images: np.ndarray, threads: int, precision: str = "f32") -> Run:
    """Opens an ONNX file, or a file in OpenVINO's own format, in OpenVINO.

    Args:
      path: the file.
      images: the input.
      threads: number of threads per inference.
      precision: precision of operations that are not quantised, "f32" or "bf16".
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
    return lambda: list(request.infer(share_outputs=True).values())[-1]
