"""Opens a dynamic file of any format as one function from pixels and thresholds to outputs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from converters.dynamic.paths import Answer, AnswerOne, forcing
from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import (
    EXIT,
    INPUT,
    LOGITS,
    PROBABILITIES,
    SIGNATURE,
    THRESHOLDS,
    THRESHOLDS_SIGNATURE,
)
from levit_lite.prediction.tflite_network import open_tflite
from levit_tf.prediction.network_files import open_saved_model
from levit_tf.prediction.onnx_network import open_onnx

_ANSWER = (LOGITS, PROBABILITIES, EXIT)


@dataclasses.dataclass(frozen=True)
class DynamicFile:
    """An open dynamic file.

    Attributes:
      path: path of the file.
      steps: number of steps.
      input_size: (height, width) of the input, pixels.
      answer: function from pixels and thresholds to the outputs.
      plain: function from pixels (1, height, width, channels) to (probabilities, exits), with the
        thresholds in the file.
    """

    path: Path
    steps: int
    input_size: tuple[int, int]
    answer: AnswerOne
    plain: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    def calls_of_paths(self, images: np.ndarray) -> dict[int, Callable[[], Answer]]:
        """Returns a call for each step, in which all of these pictures leave at it; to be timed."""
        return {
            step: partial(self.answer, images, forcing(step, self.steps))
            for step in range(self.steps)
        }


def open_dynamic(
    path: str | os.PathLike, trust: bool = False, threads: int | None = None
) -> DynamicFile:
    """Opens a file that `converters.to_dynamic` has written.

    Args:
      path: TFLite with IF, ONNX with `If`, or a SavedModel.
      trust: whether a SavedModel may have operations with effects outside the model.
      threads: number of threads, for TFLite and ONNX; by default LiteRT's and ONNX Runtime's own.
        A SavedModel has those of TensorFlow in this process.

    Raises:
      FileNotFoundError: there is no such file.
      ModelFileError: it is damaged, or not a dynamic file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file. Expected a dynamic .tflite, .onnx file or "
            "SavedModel, which converters.to_dynamic writes."
        )
    if path.is_dir():
        return _saved_model(path, trust)
    if path.suffix.lower() == ".tflite":
        return _tflite(path, threads)
    if path.suffix.lower() == ".onnx":
        return _onnx(path, threads)
    raise _no_dynamic(path)


def use_one_thread() -> None:
    """Lets TensorFlow compute in one thread, so that its times compare with those of other formats.

    Raises:
      RuntimeError: TensorFlow has begun to compute.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def of_interpreter(path: Path, interpreter) -> DynamicFile:
    """Returns the dynamic TFLite file that an interpreter has opened."""
    signatures = interpreter.get_signature_list()
    if THRESHOLDS_SIGNATURE not in signatures:
        raise _no_dynamic(path)
    given = interpreter.get_signature_runner(THRESHOLDS_SIGNATURE)
    served = interpreter.get_signature_runner(SIGNATURE)
    details = given.get_input_details()

    def answer(images, thresholds):
        found = given(**{INPUT: images.astype(np.float32), THRESHOLDS: thresholds})
        return Answer(*(found[name] for name in _ANSWER))

    def plain(images):
        found = served(**{INPUT: images.astype(np.float32)})
        return found[PROBABILITIES], found[EXIT]

    size = tuple(map(int, details[INPUT]["shape"][1:3]))
    return DynamicFile(path, int(details[THRESHOLDS]["shape"][0]) + 1, size, answer, plain)


def _tflite(path: Path, threads: int | None) -> DynamicFile:
    return of_interpreter(path, open_tflite(path, threads))


def _onnx(path: Path, threads: int | None) -> DynamicFile:
    session = open_onnx(path, threads)
    optional = {one.name: one for one in session.get_overridable_initializers()}
    if THRESHOLDS not in optional:
        raise _no_dynamic(path)
    (image,) = session.get_inputs()

    def answer(images, thresholds):
        inputs = {INPUT: images.astype(np.float32), THRESHOLDS: thresholds}
        return Answer(*session.run(list(_ANSWER), inputs))

    def plain(images):
        found = session.run([PROBABILITIES, EXIT], {INPUT: images.astype(np.float32)})
        return found[0], found[1]

    steps = optional[THRESHOLDS].shape[0] + 1
    return DynamicFile(path, steps, tuple(image.shape[1:3]), answer, plain)


def _saved_model(path: Path, trust: bool) -> DynamicFile:
    loaded, spec = open_saved_model(path, trust)
    if THRESHOLDS_SIGNATURE not in loaded.signatures:
        raise _no_dynamic(path)
    thresholds = loaded.signatures[THRESHOLDS_SIGNATURE].structured_input_signature[1][THRESHOLDS]

    def answer(images, thresholds):
        import tensorflow as tf

        inputs = {INPUT: images, THRESHOLDS: thresholds}
        found = loaded.signatures[THRESHOLDS_SIGNATURE](
            **{name: tf.constant(value, tf.float32) for name, value in inputs.items()}
        )
        return Answer(*(found[name].numpy() for name in _ANSWER))

    def plain(images):
        import tensorflow as tf

        found = loaded.signatures[SIGNATURE](**{INPUT: tf.constant(images, tf.float32)})
        return found[PROBABILITIES].numpy(), found[EXIT].numpy()

    steps = int(thresholds.shape[0]) + 1
    return DynamicFile(path, steps, tuple(map(int, spec.shape[1:3])), answer, plain)


def _no_dynamic(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path}: no dynamic file. Expected a file written by converters.to_dynamic, with the "
        f"output {EXIT!r} and the optional input {THRESHOLDS!r}."
    )
