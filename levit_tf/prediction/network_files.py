"""Reads model files of all supported formats as functions of plain RGB pictures.

The differences between the formats are handled here: a `.keras` model takes the input range that
its graph notes (`levit_tf.keras_graph.properties`) and may return logits; a SavedModel, a TFLite
file and an ONNX file take plain RGB, with the names in `levit_common.shipped_names`. TensorFlow,
LiteRT and ONNX Runtime are imported only for the files that need them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from levit_common.arrays import softmax
from levit_common.regular_files import ModelFileError, first_line
from levit_common.shipped_names import GRAPH_FILE, INPUT, LOGITS, PROBABILITIES, SIGNATURE
from levit_lite.class_names import LABELS_FILE, read_labels
from levit_lite.prediction.network import Network, checked, image_shape, unexpected_signature
from levit_lite.prediction.tflite_network import tflite_network
from levit_tf.keras_graph.endings import LINEAR, ending_of, has_two_heads, have_exits, mean_of_heads
from levit_tf.keras_graph.flatten import flatten, with_float_input
from levit_tf.keras_graph.properties import known_input_range, model_properties
from levit_tf.opening.saved_models import check_saved_model
from levit_tf.prediction.onnx_network import onnx_network
from levit_tf.preprocessing import InputRange
from levit_tf.weights.keras_files import load_keras_file

EXPECTED_FILES = (
    "a .keras file, a .tflite file, an .onnx file, a SavedModel directory, or the folder of a run"
)
# Places of the class names in an exported SavedModel.
_LABELS = (Path(LABELS_FILE), Path("assets", LABELS_FILE))


class OpenedKeras(NamedTuple):
    """A Keras model with its properties.

    Attributes:
      flat: the model without nested models.
      takes: range of its input values.
      ending: kind of its output, see `levit_tf.keras_graph.endings.ending_of`.
    """

    flat: keras.Model
    takes: InputRange
    ending: str | None


def read_network(
    path: Path,
    input_range: str | None = None,
    trust: bool = False,
    threads: int | None = None,
) -> Network:
    """Reads a model file of any format after the safety checks of `levit_tf.opening`.

    Args:
      path: an existing `.keras` file (train or deploy form), `.tflite` file, `.onnx` file, or
        SavedModel directory.
      input_range: input range of a `.keras` model whose graph does not note it: a name in
        `levit_tf.preprocessing.INPUT_RANGES`.
      trust: whether a SavedModel may have operations with effects outside the model.
      threads: number of threads of a `.tflite` or `.onnx` file; by default their runtimes choose
        it. Other files run with those of TensorFlow in this process.

    Returns:
      The network. It raises ModelFileError if the file fails when it runs.

    Raises:
      ModelFileError: the file is damaged, of another kind than expected, or could do harm.
      ValueError: the model's input range is not known, or `input_range` contradicts it.
      ImportError: the package that reads this kind of file is not installed.
    """
    if not path.is_dir() and path.suffix.lower() == ".keras":
        return checked(keras_network(load_keras_file(path), str(path), input_range))
    if input_range is not None:
        raise ValueError(
            f"{path}: --input_range is for .keras files; this one takes plain RGB 0..255."
        )
    if path.is_dir():
        return checked(_saved_model(path, trust))
    if path.suffix.lower() == ".tflite":
        return checked(tflite_network(path, threads))
    if path.suffix.lower() == ".onnx":
        return checked(onnx_network(path, threads))
    raise ModelFileError(f"{path}: not a model that can be read. Expected {EXPECTED_FILES}.")


def keras_network(
    model: keras.Model, source: str, input_range: str | None = None, few: bool = False
) -> Network:
    """Wraps a Keras model as a network that takes plain pixels, whatever its own input range.

    Args:
      model: a functional model, or a built Sequential, with one image as its input. The logits of
        LeViT's two heads are averaged; of a model with exits, the whole network's logits are used.
        A single output is that of a classifier if it ends in a softmax, a sigmoid or a dense layer;
        other outputs have the names that `output_names` gives them.
      source: the model's file, for error messages.
      input_range: see `read_network`.
      few: see `run_of`.

    Raises:
      ModelFileError: the model is of another kind.
      ValueError: the model's input range is not known, or `input_range` contradicts it.
    """
    try:
        model = with_float_input(model)
        flat = flatten(model)
        found, ending = model_properties(flat), ending_of(flat)
    except ValueError as error:
        raise ModelFileError(f"{source}: {error}") from error
    takes = known_input_range(flat, input_range, source)
    names = output_names(flat)
    shapes = {name: tuple(x.shape) for name, x in zip(names, flat.outputs, strict=True)}
    if has_two_heads(flat) or have_exits(flat.output):
        shapes = {LOGITS: next(iter(shapes.values()))}

    run = run_of(model, few)

    def outputs(images):
        y = keras.tree.map_structure(float32_of, run(takes.of_pixels(images)))
        arrays = keras.tree.flatten(mean_of_heads(y))
        if ending is not None:
            return _answers(ending, arrays[0])
        return dict(zip(names, arrays, strict=True))

    shape = tuple(model.inputs[0].shape)
    opened = OpenedKeras(flat, takes, ending)
    return Network(source, outputs, shape, shapes, found.class_names, opened)


def run_of(model: keras.Model, few: bool) -> Callable[[np.ndarray], Any]:
    """Returns the function that runs a Keras model on a batch.

    Args:
      model: any Keras model.
      few: whether there will be only few batches: then the model is not compiled, because compiling
        takes longer than running it.
    """
    return functools.partial(model, training=False) if few else model.predict_on_batch


def float32_of(x: Any) -> np.ndarray:
    """Returns an array of float32 from a tensor of Keras' backend, of any floating-point type."""
    return np.asarray(keras.ops.convert_to_numpy(x), np.float32)


def output_names(model: keras.Model) -> list[str]:
    """Returns the names of a model's outputs in exported files, in flattened order.

    The single output of a classifier is `LOGITS` or `PROBABILITIES`. Other outputs have their key
    in the dictionary of outputs, or else the name of the layer that computes them.
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
      trust: whether it may have operations with effects outside the model.
      flag: the command-line flag that sets `trust`, for error messages.

    Returns:
      The result of `tf.saved_model.load`, and the TensorSpec of the input.

    Raises:
      ModelFileError: the directory is not a SavedModel; or it is damaged, has other signatures, or
        could do harm.
      ImportError: TensorFlow is not installed.
    """
    if not (path / GRAPH_FILE).is_file():
        raise ModelFileError(
            f"{path}: a directory without {GRAPH_FILE}, so no SavedModel. Expected "
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
    except Exception as error:  # A damaged file can raise many types of errors.
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
        raise unexpected_signature(found, path)
    return loaded, inputs[INPUT]


def _saved_model(path: Path, trust: bool) -> Network:
    loaded, spec = open_saved_model(path, trust)
    import tensorflow as tf

    signature = loaded.signatures[SIGNATURE]

    def outputs(images):
        # Refer to `loaded`, because a signature does not keep the variables of its model alive.
        found = loaded.signatures[SIGNATURE](**{INPUT: tf.cast(images, spec.dtype)})
        return {name: tf.cast(y, tf.float32).numpy() for name, y in found.items()}

    shapes = {name: tuple(y.shape) for name, y in signature.structured_outputs.items()}
    names = saved_model_labels(path)
    return Network(str(path), outputs, image_shape(spec.shape, path), shapes, names, loaded)


def saved_model_labels(path: Path) -> tuple[str, ...] | None:
    """Reads the class names beside a SavedModel or in its assets; None without any.

    Raises:
      ValueError: see `read_labels`.
    """
    labels = next((path / name for name in _LABELS if (path / name).is_file()), None)
    return tuple(read_labels(labels)) if labels else None
