"""Reads teachers of any framework: ONNX and TFLite files, run by their own runtimes.

Such a file specifies the shape of its images, but seldom their range of values: TFLite metadata do,
the quantisation of an input, and the metadata of ONNX files of this package. If that is missing,
the user must give it (`teacher_preprocessing`); it is never guessed, not from names either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import INPUT, LOGITS
from levit_lite.prediction.quantized_values import dequantize, quantize, scale_of
from levit_lite.prediction.tflite_network import open_tflite, packed_labels
from levit_tf.prediction.onnx_network import (
    ONNX_TYPES,
    fixed_sides,
    onnx_input_range,
    onnx_labels,
    open_onnx,
)
from levit_tf.preprocessing import INPUT_RANGES, InputRange
from training.teachers.reading import Reading, Shape
from training.teachers.tflite_metadata import noted_range

Run = Callable[[np.ndarray], np.ndarray]
_CHANNELS = (1, 3)
_PROBED = 4  # number of random images, to find out whether a network returns probabilities
_SUM_TOLERANCE, _QUANTIZED_SUM_TOLERANCE = 1e-3, 0.1


def read_onnx(path: str, size: tuple[int, int]) -> Reading:
    """Reads an ONNX classifier with one image input, channels first or last.

    Args:
      path: the file.
      size: (height, width) of the images, pixels, if the file accepts any size.

    Raises:
      ModelFileError: it is damaged, or not such a classifier.
      ImportError: ONNX Runtime is not installed.
    """
    session = open_onnx(Path(path))
    inputs = session.get_inputs()
    shape = fixed_sides(inputs[0].shape) if len(inputs) == 1 else ()
    dtype = ONNX_TYPES.get(inputs[0].type) if inputs else None
    if len(shape) != 4 or dtype is None:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise ModelFileError(
            f"teacher {path}: expected one input, a batch of images in float32 or float16. Found: "
            f"{found or 'none'}"
        )
    is_first = shape[1] in _CHANNELS and shape[3] not in _CHANNELS
    batch, *sides = (shape[0], *shape[2:], shape[1]) if is_first else shape
    outputs = {one.name: fixed_sides(one.shape) for one in session.get_outputs()}
    name = _scores_of(outputs, path)

    def run(images: np.ndarray) -> np.ndarray:
        # (batch, height, width, channels) -> (batch, channels, height, width)
        images = images.transpose(0, 3, 1, 2) if is_first else images
        return session.run([name], {inputs[0].name: images.astype(dtype)})[0]

    takes, names = onnx_input_range(session), onnx_labels(session)
    return _reading(path, session, run, (batch, *sides), size, takes, _SUM_TOLERANCE, names)


def read_tflite(path: str, size: tuple[int, int]) -> Reading:
    """Reads a TFLite classifier with one image input, float or quantised.

    Args:
      path: the file.
      size: (height, width) of the images, pixels, if the file accepts any size.

    Raises:
      ModelFileError: it is damaged, or not such a classifier.
      ImportError: LiteRT is not installed.
    """
    interpreter = open_tflite(Path(path), threads=os.cpu_count())
    inputs = interpreter.get_input_details()
    if len(inputs) != 1 or len(inputs[0]["shape"]) != 4:
        found = ", ".join(f"{one['name']} {tuple(one['shape'])}" for one in inputs)
        raise ModelFileError(
            f"teacher {path}: expected one input, a batch of images. Found: {found or 'none'}"
        )
    image = inputs[0]
    details = {one["name"]: one for one in interpreter.get_output_details()}
    outputs = {name: tuple(map(int, one["shape"])) for name, one in details.items()}
    signature = next(iter(interpreter.get_signature_list().values()), {})
    if list(signature.get("inputs", ())) == [INPUT] and LOGITS in signature["outputs"]:
        runner = interpreter.get_signature_runner()
        answer = runner.get_output_details()[LOGITS]

        def run(images: np.ndarray) -> np.ndarray:
            return dequantize(runner(**{INPUT: quantize(images, image)})[LOGITS], answer)
    else:
        answer = details[_scores_of(outputs, path)]

        def run(images: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(image["index"], quantize(images, image))
            interpreter.invoke()
            return dequantize(interpreter.get_tensor(answer["index"]), answer)

    is_quantized = np.issubdtype(answer["dtype"], np.integer)
    return _reading(
        path,
        interpreter,
        run,
        tuple(map(int, image["shape"])),
        size,
        _range_of(Path(path), image),
        _QUANTIZED_SUM_TOLERANCE if is_quantized else _SUM_TOLERANCE,
        packed_labels(Path(path)),
    )


def _range_of(path: Path, image: Mapping) -> InputRange | None:
    """Returns the range that a file notes, or that of bytes, which are the pixels themselves."""
    if image["dtype"] not in (np.uint8, np.int8):
        return noted_range(path)
    scale, zero_point = scale_of(image)
    first = np.iinfo(image["dtype"]).min  # for int8, too, this is a black pixel
    # scale * (pixel + first - zero_point) = (pixel / 255 - mean) / std
    return InputRange(((zero_point - first) / 255,) * 3, (1 / (255 * scale),) * 3)


def _scores_of(outputs: Mapping[str, Shape], path: str) -> str:
    """Returns the name of the output with one value per class."""
    if LOGITS in outputs:
        return LOGITS
    fitting = [
        name
        for name, shape in outputs.items()
        if len(shape) >= 2 and shape[-1] not in (None, 1) and set(shape[1:-1]) <= {1}
    ]
    if len(fitting) != 1:
        found = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
        raise ModelFileError(
            f"teacher {path}: expected one output (batch, classes). Found: {found or 'none'}"
        )
    return fitting[0]


def _reading(
    path: str,
    network: object,
    run: Run,
    images: Shape,
    size: tuple[int, int],
    takes: InputRange | None,
    tolerance: float,
    class_names: tuple[str, ...] | None,
) -> Reading:
    """Makes the result, after running the file on random images."""
    batch, *sides = images
    if None in sides:
        sides = [*size, sides[2] or 3]

    def answers(values: np.ndarray) -> np.ndarray:
        step = batch or len(values)
        rows = []
        for start in range(0, len(values), step):
            part = values[start : start + step]
            padding = [(0, step - len(part)), (0, 0), (0, 0), (0, 0)]
            found = np.asarray(run(np.pad(part, padding)), np.float32)
            rows.append(found.reshape(step, -1)[: len(part)])
        return np.concatenate(rows)

    probe = takes or INPUT_RANGES["symmetric"]
    pixels = np.random.default_rng(0).integers(0, 256, (_PROBED, *sides))
    try:
        found = answers(probe.of_channels(sides[2]).of_pixels(pixels))
    except Exception as error:  # the libraries that run it raise many types
        raise ModelFileError(f"teacher {path}: cannot be run. {error}") from error
    classes = found.shape[1]
    is_probability = bool(
        found.min() >= -tolerance and np.all(np.abs(found.sum(axis=1) - 1) <= tolerance)
    )

    def scores(values: tf.Tensor) -> tf.Tensor:
        found = tf.numpy_function(answers, [values], tf.float32)
        return tf.ensure_shape(found, [values.shape[0], classes])

    return Reading(
        network,
        scores,
        (None, *sides),
        (None, classes),
        takes,
        is_probability,
        class_names,
        in_python=True,
    )
