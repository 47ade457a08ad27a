"""Reads the files that are shipped: each becomes functions of plain RGB pictures.

What differs between the files is settled here: a `.keras` model takes what its graph says
(`levit_tf.keras_graph.properties`) and may return logits; a SavedModel, a TFLite file and an ONNX
file take plain RGB by the names in `levit_common.shipped_names`. TensorFlow, LiteRT and ONNX
Runtime are imported only for the files that need them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from levit_common.arrays import softmax
from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES, SIGNATURE
from levit_tf.class_names import LABELS_FILE, MAX_LABELS_BYTES, read_labels
from levit_tf.keras_graph.endings import LINEAR, ending_of, has_two_heads, mean_of_heads
from levit_tf.keras_graph.flatten import flatten
from levit_tf.keras_graph.properties import known_input_range, model_properties
from levit_tf.opening.archives import DAMAGE, check_archive
from levit_tf.opening.onnx_files import check_onnx_file, session_options
from levit_tf.opening.saved_models import check_saved_model
from levit_tf.opening.tflite_files import check_tflite_file
from levit_tf.opening.tflite_probe import check_tflite_runs
from levit_tf.prediction.quantized_values import dequantize, quantize
from levit_tf.preprocessing import InputRange
from levit_tf.weights.keras_files import first_line, load_keras_file

EXPECTED_FILES = "a .keras file, a .tflite file, an .onnx file, or a SavedModel directory"
CLASS_NAMES_KEY = "class_names"  # in an ONNX file's metadata; its names are one a line
_MAX_VALUES = 1 << 28  # in a picture: 1 GB in float32, 9,500x9,500 pixels of RGB
ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
# Where exports keep class names in a SavedModel.
_LABELS = (Path(LABELS_FILE), Path("assets", LABELS_FILE))


class OpenedKeras(NamedTuple):
    """A Keras model and what was found out about it.

    Attributes:
      flat: it without models in models.
      takes: what its input holds.
      ending: see `levit_tf.keras_graph.endings.ending_of`.
    """

    flat: keras.Model
    takes: InputRange
    ending: str | None


@dataclasses.dataclass(frozen=True)
class Network:
    """What a file holds.

    Attributes:
      source: the file.
      outputs: (n, height, width, channels) float32, plain pixels 0..255 -> float32 arrays by name,
        n first. A classifier has `LOGITS`, `PROBABILITIES` or both.
      input_shape: (batch or None, height, width, channels); a batch that is not None is the only n.
      output_shapes: of the outputs, by name, the batch first.
      class_names: those that the file has; None without.
      opened: what the file was opened as, for those who look further into it: an `OpenedKeras`, or
        what TensorFlow, LiteRT or ONNX Runtime make of it.
    """

    source: str
    outputs: Callable[[np.ndarray], dict[str, np.ndarray]]
    input_shape: tuple[int | None, int, int, int]
    output_shapes: Mapping[str, Sequence[int | None]]
    class_names: tuple[str, ...] | None = None
    opened: Any = None

    @property
    def classes(self) -> int | None:
        """Number of classes; None for what is no classifier."""
        shapes = [self.output_shapes.get(name) for name in (LOGITS, PROBABILITIES)]
        return next((int(s[1]) for s in shapes if s is not None and len(s) == 2 and s[1]), None)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Plain RGB pictures -> (n, classes) probabilities, of a classifier."""
        found = self.outputs(images)
        return found[PROBABILITIES] if PROBABILITIES in found else softmax(found[LOGITS])


def read_network(path: Path, input_range: str | None = None, trust: bool = False) -> Network:
    """Reads a file by its kind, after `levit_tf.opening` has looked at it.

    Args:
      path: an existing `.keras` file (train or deploy form), `.tflite` file, `.onnx` file, or
        SavedModel directory.
      input_range: what a `.keras` model takes, where its graph does not say it: a name of
        `levit_tf.preprocessing.INPUT_RANGES`.
      trust: whether a SavedModel may have operations that reach beyond it.

    Returns:
      The network, which raises ModelFileError where the file fails when it is run.

    Raises:
      ModelFileError: it is damaged, or something else than expected, or could do harm.
      ValueError: what the model takes is not known, or `input_range` contradicts it.
      ImportError: the package that reads this kind of file is not installed.
    """
    if not path.is_dir() and path.suffix.lower() == ".keras":
        return _checked(keras_network(load_keras_file(path), str(path), input_range))
    if input_range is not None:
        raise ValueError(
            f"{path}: --input_range is for .keras files; this one takes plain RGB 0..255."
        )
    if path.is_dir():
        return _checked(_saved_model(path, trust))
    if path.suffix.lower() == ".tflite":
        return _checked(_tflite(path))
    if path.suffix.lower() == ".onnx":
        return _checked(_onnx(path))
    raise ModelFileError(f"{path}: not a model that can be read. Expected {EXPECTED_FILES}.")


def _checked(network: Network) -> Network:
    """A network of pictures that can be, whose failures name the file."""
    side = [size for size in network.input_shape[1:] if size is not None]
    if 0 in network.input_shape or math.prod(side) > _MAX_VALUES:
        raise ModelFileError(
            f"{network.source}: takes pictures of shape {network.input_shape}. Expected at least "
            f"one value, and at most {_MAX_VALUES:,} in a picture."
        )

    def outputs(images):
        try:
            return network.outputs(images)
        except Exception as error:  # of the libraries that run it
            raise ModelFileError(f"{network.source}: cannot be run. {first_line(error)}") from error

    return dataclasses.replace(network, outputs=outputs)


def keras_network(
    model: keras.Model, source: str, input_range: str | None = None, few: bool = False
) -> Network:
    """What a Keras model answers to plain pixels, whatever it takes.

    Args:
      model: functional, or a built Sequential, of one image. Of LeViT's two heads the mean of the
        logits is taken. One output is a classifier's if it ends in a softmax, a sigmoid or a dense
        layer; other outputs have the names that `output_names` gives them.
      source: where it is from, for messages.
      input_range: see `read_network`.
      few: see `run_of`.

    Raises:
      ModelFileError: the model is of another kind.
      ValueError: what the model takes is not known, or `input_range` contradicts it.
    """
    try:
        flat = flatten(model)
        found, ending = model_properties(flat), ending_of(flat)
    except ValueError as error:
        raise ModelFileError(f"{source}: {error}") from error
    takes = known_input_range(flat, input_range, source)
    names = output_names(flat)
    shapes = {name: tuple(x.shape) for name, x in zip(names, flat.outputs, strict=True)}
    if has_two_heads(flat):
        shapes = {LOGITS: next(iter(shapes.values()))}

    run = run_of(model, few)

    def outputs(images):
        y = keras.tree.map_structure(_float32, run(takes.of_pixels(images)))
        arrays = keras.tree.flatten(mean_of_heads(y))
        if ending is not None:
            return _answers(ending, arrays[0])
        return dict(zip(names, arrays, strict=True))

    shape = tuple(model.inputs[0].shape)
    opened = OpenedKeras(flat, takes, ending)
    return Network(source, outputs, shape, shapes, found.class_names, opened)


def run_of(model: keras.Model, few: bool) -> Callable[[np.ndarray], Any]:
    """What runs a Keras model on a batch.

    Args:
      model: any.
      few: whether few batches are to come: the model is not compiled then, which takes longer than
        to run it.
    """
    return functools.partial(model, training=False) if few else model.predict_on_batch


def _float32(x) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x), np.float32)


def output_names(model: keras.Model) -> list[str]:
    """Names of a model's outputs where it is shipped, in the order in which they are flattened.

    A classifier's one output is `LOGITS` or `PROBABILITIES`; others have the key that they have in
    a dictionary of outputs, or else the name of the layer that they are from.
    """
    flat = flatten(model)
    ending = ending_of(flat)
    if ending is not None and len(flat.outputs) == 1:
        return [LOGITS if ending == LINEAR else PROBABILITIES]
    paths = [
        ".".join(map(str, path)) if isinstance(flat.output, dict) else ""
        for path, _ in keras.tree.flatten_with_path(flat.output)
    ]
    layers = [flat.output_names[n] for n in range(len(paths))]
    names = []
    for path, layer in zip(paths, layers, strict=True):
        name = stem = re.sub(r"[^A-Za-z0-9_.]", "_", path or layer)
        while name in names or name == INPUT:
            name = f"{stem}_{sum(n.startswith(stem) for n in names) + 1}"
        names.append(name)
    return names


def _answers(ending: str, y: np.ndarray) -> dict[str, np.ndarray]:
    return {LOGITS: y, PROBABILITIES: softmax(y)} if ending == LINEAR else {PROBABILITIES: y}


def open_saved_model(path: Path, trust: bool = False, flag: str = "--trust"):
    """Loads a SavedModel that has the signature of `levit_common.shipped_names`.

    Args:
      path: the directory.
      trust: whether it may have operations that reach beyond it.
      flag: by which a user says so, for the message.

    Returns:
      What `tf.saved_model.load` returns, and the TensorSpec of the input.

    Raises:
      ModelFileError: there is none in the directory, or it is damaged, or has other signatures, or
        could do harm.
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
    check_saved_model(path, trust, flag)
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # As with .keras files: errors of many types.
        raise ModelFileError(
            f"{path}: cannot be loaded as a SavedModel; incomplete or damaged? {first_line(error)}"
        ) from error
    signature = loaded.signatures.get(SIGNATURE)
    inputs = signature.structured_input_signature[1] if signature else {}
    if list(inputs) != [INPUT] or inputs[INPUT].dtype == tf.string:
        found = {
            name: (list(f.structured_input_signature[1]), list(f.structured_outputs))
            for name, f in loaded.signatures.items()
        }
        raise _unexpected_signature(found, path)
    return loaded, inputs[INPUT]


def _saved_model(path: Path, trust: bool) -> Network:
    loaded, spec = open_saved_model(path, trust)
    import tensorflow as tf

    signature = loaded.signatures[SIGNATURE]

    def outputs(images):
        # By way of `loaded`: a signature does not keep the variables of its model alive.
        found = loaded.signatures[SIGNATURE](**{INPUT: tf.cast(images, spec.dtype)})
        return {name: tf.cast(y, tf.float32).numpy() for name, y in found.items()}

    shapes = {name: tuple(y.shape) for name, y in signature.structured_outputs.items()}
    labels = next((path / name for name in _LABELS if (path / name).is_file()), None)
    names = tuple(read_labels(labels)) if labels else None
    return Network(str(path), outputs, _image_shape(spec.shape, path), shapes, names, loaded)


def open_tflite(path: Path, threads: int | None = None):
    """Loads a TFLite file.

    Args:
      path: an existing file.
      threads: that LiteRT computes with; its own choice by default.

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
            f'{path}: a .tflite file needs LiteRT: pip install "levit_tf[tflite]"'
        ) from error
    check_tflite_file(path)
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


def _tflite(path: Path) -> Network:
    interpreter = open_tflite(path)
    found = {
        name: (signature["inputs"], signature["outputs"])
        for name, signature in interpreter.get_signature_list().items()
    }
    if list(found.get(SIGNATURE, ((), ()))[0]) != [INPUT]:
        raise _unexpected_signature(found, path)
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
        _image_shape(input_shape, path),
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


def open_onnx(path: Path):
    """Loads an ONNX file.

    Args:
      path: an existing file.

    Returns:
      ONNX Runtime's `InferenceSession`, on the CPU.

    Raises:
      ModelFileError: it is damaged, or something else, or could do harm.
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
            str(path), session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # As with .keras files: errors of many types.
        raise ModelFileError(
            f"{path}: cannot be loaded as an ONNX file; truncated, or another kind of file? "
            f"{first_line(error)}"
        ) from error


def _onnx(path: Path) -> Network:
    session = open_onnx(path)
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    shapes = {tensor.name: fixed_sides(tensor.shape) for tensor in session.get_outputs()}
    if list(inputs) != [INPUT]:
        # An ONNX file has one graph and no names of signatures.
        raise _unexpected_signature({SIGNATURE: (list(inputs), list(shapes))}, path)
    dtype = ONNX_TYPES.get(inputs[INPUT].type)
    if dtype is None:
        raise ModelFileError(
            f"{path}: expected an input of type {' or '.join(ONNX_TYPES)}. Found: "
            f"{inputs[INPUT].type}"
        )

    def outputs(images):
        found = session.run(list(shapes), {INPUT: images.astype(dtype)})
        return {name: y.astype(np.float32) for name, y in zip(shapes, found, strict=True)}

    text = session.get_modelmeta().custom_metadata_map.get(CLASS_NAMES_KEY)
    names = tuple(text.split("\n")) if text else None
    input_shape = _image_shape(fixed_sides(inputs[INPUT].shape), path)
    return Network(str(path), outputs, input_shape, shapes, names, session)


def fixed_sides(shape: Sequence[int | str | None]) -> tuple[int | None, ...]:
    """A shape whose free dimensions, which ONNX names, are None."""
    return tuple(side if isinstance(side, int) else None for side in shape)


def _unexpected_signature(found: dict, path: Path) -> ModelFileError:
    """An error about a file of others.

    Args:
      found: signature name -> (names of inputs, names of outputs).
      path: the file.
    """
    listed = "; ".join(
        f"{name!r}: {sorted(inputs)} -> {sorted(outputs)}"
        for name, (inputs, outputs) in found.items()
    )
    return ModelFileError(
        f"{path}: expected a signature {SIGNATURE!r} with the one input {INPUT!r} and the "
        f"outputs {LOGITS!r} and {PROBABILITIES!r}, as this package exports. "
        f"Found: {listed or 'none'}"
    )


def _image_shape(shape: Sequence[int | None], path: Path) -> tuple[int | None, int, int, int]:
    shape = tuple(shape)
    if len(shape) != 4 or None in shape[1:]:
        raise ModelFileError(
            f"{path}: expected an input of shape (batch, height, width, channels) with a fixed "
            f"height and width. Found: {shape}"
        )
    return shape
