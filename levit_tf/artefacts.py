"""Reads the files that are shipped: each becomes a function from plain RGB to probabilities.

What differs between the files is settled here: a `.keras` model takes normalised pixels and may
return logits; a SavedModel, a TFLite file and an ONNX file take plain RGB by the names in
`signatures`. TensorFlow, LiteRT and ONNX Runtime are imported only for the files that need them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from levit_tf.keras_files import (
    ModelFileError,
    ends_in_softmax,
    first_line,
    load_keras_file,
)
from levit_tf.preprocessing import preprocess_input
from levit_tf.quantized_values import dequantize, quantize
from levit_tf.signatures import INPUT, LOGITS, PROBABILITIES, SIGNATURE

EXPECTED_FILES = "a .keras file, a .tflite file, an .onnx file, or a SavedModel directory"
_ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclasses.dataclass(frozen=True)
class Network:
    """What a file holds.

    Attributes:
      run: (n, height, width, 3) float32, RGB 0..255 -> (n, classes) probabilities.
      input_shape: (batch or None, height, width, 3); a batch that is not None is the only n.
      classes: number of classes.
    """

    run: Callable[[np.ndarray], np.ndarray]
    input_shape: tuple[int | None, int, int, int]
    classes: int


def read_network(path: Path) -> Network:
    """Reads a file by its kind.

    Args:
      path: an existing `.keras` file (train or deploy form), `.tflite` file, `.onnx` file, or
        SavedModel directory.

    Raises:
      ModelFileError: it is damaged, or something else than expected.
      ImportError: the package that reads this kind of file is not installed.
    """
    if path.is_dir():
        return _saved_model(path)
    if path.suffix.lower() == ".keras":
        return keras_network(load_keras_file(path), str(path))
    if path.suffix.lower() == ".tflite":
        return _tflite(path)
    if path.suffix.lower() == ".onnx":
        return _onnx(path)
    raise ModelFileError(f"{path}: not a model that can be read. Expected {EXPECTED_FILES}.")


def keras_network(model: keras.Model, source: str) -> Network:
    """Wraps a Keras model of normalised pixels.

    Args:
      model: its output is (batch, classes), probabilities or logits, or the logits of both heads.
      source: where it is from, for messages.

    Raises:
      ModelFileError: the model's input or output is something else.
    """
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
        raise ModelFileError(f"{source}: expected a Keras model with one input, the image.")
    output = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    if isinstance(output, dict) and set(output) == {"head", "head_dist"}:
        classes = _classes(output["head"].shape, source)

        def probabilities(x):
            heads = model.predict_on_batch(x)
            return _softmax((heads["head"] + heads["head_dist"]) / 2)

    elif keras.utils.is_keras_tensor(output):
        classes = _classes(output.shape, source)
        finish = (lambda y: y) if ends_in_softmax(model, source) else _softmax

        def probabilities(x):
            return finish(model.predict_on_batch(x))

    else:
        found = sorted(output) if isinstance(output, dict) else f"{len(output)} outputs"
        raise ModelFileError(
            f'{source}: expected one output, or the two heads "head" and "head_dist". '
            f"Found: {found}"
        )

    def run(images):
        return probabilities(preprocess_input(images, data_format="channels_last"))

    return Network(run, _image_shape(model.input_shape, source), classes)


def load_saved_model(path: Path):
    """Loads a SavedModel, whose signatures are then to be looked at.

    Raises:
      ModelFileError: there is none in the directory, or it is damaged.
      ImportError: TensorFlow is not installed.
    """
    if not (path / "saved_model.pb").is_file():
        raise ModelFileError(
            f"{path}: a directory without saved_model.pb, so no SavedModel. Expected "
            f"{EXPECTED_FILES}."
        )
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"{path}: a SavedModel needs TensorFlow: pip install tensorflow"
        ) from error
    try:
        return tf.saved_model.load(str(path))
    except Exception as error:  # As with .keras files: errors of many types.
        raise ModelFileError(
            f"{path}: cannot be loaded as a SavedModel; incomplete or damaged? {first_line(error)}"
        ) from error


def _saved_model(path: Path) -> Network:
    loaded = load_saved_model(path)
    import tensorflow as tf

    found = {
        name: (list(function.structured_input_signature[1]), list(function.structured_outputs))
        for name, function in loaded.signatures.items()
    }
    output, finish = _checked_signature(found, str(path))
    signature = loaded.signatures[SIGNATURE]
    spec = signature.structured_input_signature[1][INPUT]

    def run(images):
        # By way of `loaded`: a signature does not keep the variables of its model alive.
        outputs = loaded.signatures[SIGNATURE](**{INPUT: tf.cast(images, spec.dtype)})
        return finish(outputs[output].numpy())

    classes = _classes(signature.structured_outputs[output].shape, str(path))
    return Network(run, _image_shape(spec.shape, str(path)), classes)


def _tflite(path: Path) -> Network:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            f'{path}: a .tflite file needs LiteRT: pip install "levit_tf[tflite]"'
        ) from error
    try:
        interpreter = Interpreter(model_path=str(path))
        found = {
            name: (signature["inputs"], signature["outputs"])
            for name, signature in interpreter.get_signature_list().items()
        }
    except Exception as error:  # As with .keras files: errors of many types.
        raise ModelFileError(
            f"{path}: cannot be loaded as a TFLite file; truncated, or another kind of file? "
            f"{first_line(error)}"
        ) from error
    output, finish = _checked_signature(found, str(path))
    runner = interpreter.get_signature_runner(SIGNATURE)
    image = runner.get_input_details()[INPUT]
    scores = runner.get_output_details()[output]

    def run(images):
        outputs = runner(**{INPUT: quantize(images, image)})
        return finish(dequantize(outputs[output], scores))

    input_shape = tuple(map(int, image["shape"]))
    return Network(run, _image_shape(input_shape, str(path)), _classes(scores["shape"], str(path)))


def _onnx(path: Path) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f'{path}: an .onnx file needs ONNX Runtime: pip install "levit_tf[onnx]"'
        ) from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # As with .keras files: errors of many types.
        raise ModelFileError(
            f"{path}: cannot be loaded as an ONNX file; truncated, or another kind of file? "
            f"{first_line(error)}"
        ) from error
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    # An ONNX file has one graph and no names of signatures.
    output, finish = _checked_signature({SIGNATURE: (list(inputs), list(outputs))}, str(path))
    dtype = _ONNX_TYPES.get(inputs[INPUT].type)
    if dtype is None:
        raise ModelFileError(
            f"{path}: expected an input of type {' or '.join(_ONNX_TYPES)}. Found: "
            f"{inputs[INPUT].type}"
        )

    def run(images):
        (scores,) = session.run([output], {INPUT: images.astype(dtype)})
        return finish(scores)

    input_shape, output_shape = (
        # A dimension that is not fixed has a name, or none.
        [side if isinstance(side, int) else None for side in tensor.shape]
        for tensor in (inputs[INPUT], outputs[output])
    )
    return Network(run, _image_shape(input_shape, str(path)), _classes(output_shape, str(path)))


def _checked_signature(found: dict, source: str) -> tuple[str, Callable]:
    """The output to read, and what turns it into probabilities.

    Args:
      found: signature name -> (names of inputs, names of outputs).
      source: the file, for the message.
    """
    inputs, outputs = found.get(SIGNATURE, ((), ()))
    if list(inputs) == [INPUT]:
        if PROBABILITIES in outputs:
            return PROBABILITIES, lambda y: y
        if LOGITS in outputs:
            return LOGITS, _softmax
    listed = "; ".join(
        f"{name!r}: {sorted(inputs)} -> {sorted(outputs)}"
        for name, (inputs, outputs) in found.items()
    )
    raise ModelFileError(
        f"{source}: expected a signature {SIGNATURE!r} with the one input {INPUT!r} and the "
        f"outputs {LOGITS!r} and {PROBABILITIES!r}, as this package exports. "
        f"Found: {listed or 'none'}"
    )


def _image_shape(shape: Sequence[int | None], source: str) -> tuple[int | None, int, int, int]:
    shape = tuple(shape)
    if len(shape) != 4 or None in shape[1:] or shape[-1] != 3:
        raise ModelFileError(
            f"{source}: expected an input of shape (batch, height, width, 3) with a fixed height "
            f"and width. Found: {shape}"
        )
    return shape


def _classes(shape: Sequence[int | None], source: str) -> int:
    shape = tuple(shape)
    if len(shape) != 2 or shape[1] is None:
        raise ModelFileError(
            f"{source}: expected an output of shape (batch, classes); a model without its "
            f"classifier names nothing. Found: {shape}"
        )
    return int(shape[1])


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, float32."""
    logits = logits.astype(np.float32)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
