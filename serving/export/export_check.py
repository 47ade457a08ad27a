"""Checks a version before it is published, in a session like TensorFlow Serving's."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from converters.dynamic.paths import forcing
from converters.verification.verify_artefact import BFLOAT16, FLOAT32, Artefact
from levit_lite.images import load_image
from levit_tf.keypoints.regions import cut
from levit_tf.keypoints.whole_picture import fit_whole, to_picture
from levit_tf.preprocessing import resize_and_center_crop
from serving.export.export_graph import Signature
from serving.export.kept_shapes import keep_shape, kept_size
from serving.export.signature_pictures import sample_files
from serving.export.warmup_requests import execute, read_warmup
from serving.signatures import (
    BOXES,
    CLASSES,
    CLASSIFY,
    ENCODED_FEATURE,
    EXAMPLES,
    EXIT,
    IMAGE_BYTES,
    IMAGE_TENSOR,
    IMAGES,
    KEYPOINTS,
    LOGITS,
    PROBABILITIES,
    SCORES,
    SERVING_DEFAULT,
    THRESHOLDS,
    THRESHOLDS_SIGNATURE,
)
from serving.tensorflow_c.c_api import SavedModelSession, TensorFlowError

TOLERANCES = {"float32": FLOAT32.tolerance, "bfloat16": BFLOAT16.tolerance}
# For probabilities of the same pixels. TensorFlow may fuse an addition differently in each
# signature, and then bfloat16 rounds at other places.
BYTES_TOLERANCES = {"float32": 1e-6, "bfloat16": 1e-2}
# For joints of the same pixels, in pixels. If two positions are equally likely, bfloat16 may pick
# either, so there the median is compared.
_PLACES_TOLERANCES = {"float32": 0.05, "bfloat16": 1.0}


@dataclasses.dataclass(frozen=True)
class Checks:
    """The differences between a version's outputs and the expected ones.

    Attributes:
      function: largest difference of a logit, or of a joint's position in pixels, between the
        session and the same function run by TensorFlow in Python.
      keras: largest difference between the session and the given Keras model, relative to the
        largest value; for probabilities if that model does not return logits.
      bytes: largest difference of a probability, or of a position, between encoded pictures and the
        same pictures preprocessed by `levit_tf`.
      requests: number of executed warm-up records.
    """

    function: float
    keras: float
    bytes: float
    requests: int


def check_version(
    version: str | os.PathLike,
    reference: Artefact,
    signatures: dict[str, Signature],
    precision: str,
    steps: Sequence[Artefact] = (),
    kept: tuple[int, int] | None = None,
) -> Checks:
    """Loads a version as TensorFlow Serving does, and compares its outputs.

    Args:
      version: folder of the version, with warm-up records.
      reference: the model that it was made from, called as users call it; see
        `converters.verification.verify_keras.model_artefact`.
      signatures: the functions that it was made from.
      precision: precision that these compute in.
      steps: for a dynamic classifier, the references for each step, see
        `converters.dynamic.paths.references`.
      kept: if pictures keep their shape, the largest side and the number that sides are multiples
        of; see `serving.export.kept_shapes`.

    Returns:
      The differences, all within the tolerances.

    Raises:
      ValueError: the version cannot be loaded, fails on a record, or returns wrong outputs.
    """
    try:
        with SavedModelSession(version) as session:
            fitted = _fitted(reference, kept)
            if KEYPOINTS in reference.network.output_shapes:
                return _check_joints(session, version, reference, signatures, precision, *fitted)
            return _check(session, version, reference, signatures, precision, steps, fitted)
    except TensorFlowError as error:
        raise ValueError(f"The version does not work in TensorFlow's session: {error}") from error


def _fitted(reference, kept) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Returns sample files, the pictures in them, and these as input batches of `IMAGE_TENSOR`."""
    files = list(sample_files().values())
    pictures = [load_image(file) for file in files]
    if kept is not None:
        fit, canvas = keep_shape(*kept), (kept[0],) * 2
        sizes = [kept_size(*picture.shape[:2], *kept) for picture in pictures]
        batches = [
            fit(picture, canvas)[None, :rows, :columns]
            for picture, (rows, columns) in zip(pictures, sizes, strict=True)
        ]
    else:
        has_joints = KEYPOINTS in reference.network.output_shapes
        fit = fit_whole if has_joints else resize_and_center_crop
        size = tuple(reference.network.input_shape[1:3])
        batches = [np.stack([fit(picture, size) for picture in pictures])]
    return np.array(files, object), pictures, batches


def _check(session, version, reference, signatures, precision, steps, fitted) -> Checks:
    pictures, _, batches = fitted
    answers = _joined(_run(session, IMAGE_TENSOR, IMAGES, batch) for batch in batches)
    by_function = _by_function(signatures, batches, LOGITS)
    if steps:
        compared, of_keras = LOGITS, _largest_of_paths(session, batches[0], steps)
    else:
        by_keras = _joined(map(reference.outputs, batches))
        compared = LOGITS if LOGITS in by_keras else PROBABILITIES
        of_keras = _relative(answers[compared], by_keras[compared])
    from_bytes = _run(session, SERVING_DEFAULT, IMAGE_BYTES, pictures)
    from_examples = _run(session, CLASSIFY, EXAMPLES, _examples(pictures))
    checks = Checks(
        function=_largest(answers[LOGITS] - by_function),
        keras=of_keras,
        bytes=_largest(from_bytes[PROBABILITIES] - answers[PROBABILITIES]),
        requests=_execute_warmup(session, version),
    )
    limit = max(TOLERANCES[precision], reference.precision.tolerance)
    if not checks.keras <= limit:  # so that NaN is refused, too
        raise ValueError(
            f"The version differs from Keras by {checks.keras:.1e} of the largest of the "
            f"{compared}; at most {limit:.0e} was expected."
        )
    if not checks.bytes <= BYTES_TOLERANCES[precision]:
        differences = np.abs(from_bytes[PROBABILITIES] - answers[PROBABILITIES]).max(axis=1)
        raise ValueError(
            f"{list(sample_files())[differences.argmax()]} pictures are answered differently as "
            f"bytes: probabilities differ by {checks.bytes:.1e}; at most "
            f"{BYTES_TOLERANCES[precision]:.0e} was expected."
        )
    if not all(np.array_equal(from_examples[key], from_bytes[key]) for key in (CLASSES, SCORES)):
        raise ValueError(f"{CLASSIFY!r} answers otherwise than {SERVING_DEFAULT!r}.")
    return checks


def _check_joints(
    session, version, reference, signatures, precision, files, pictures, batches
) -> Checks:
    answers = _joined(_run(session, IMAGE_TENSOR, IMAGES, batch) for batch in batches)[KEYPOINTS]
    by_keras = _joined(map(reference.outputs, batches))[KEYPOINTS]
    from_bytes = _run(session, SERVING_DEFAULT, IMAGE_BYTES, files)[KEYPOINTS]
    size = tuple(batches[0].shape[1:3])
    expected = answers.copy()
    for found, picture in zip(expected, pictures, strict=True):
        found[:, 0], found[:, 1] = to_picture(found[:, 0], found[:, 1], *picture.shape[:2], size)
    by_boxes, of_boxes = _by_boxes(session, reference, files, pictures, size)
    amount = _largest if precision == "float32" else _median
    checks = Checks(
        function=_largest(answers - _by_function(signatures, batches, KEYPOINTS)),
        keras=amount(answers - by_keras) / _largest(by_keras),
        bytes=max(amount(from_bytes - expected), amount(by_boxes - of_boxes)),
        requests=_execute_warmup(session, version),
    )
    limit = max(TOLERANCES[precision], reference.precision.tolerance)
    if not checks.keras <= limit:  # so that NaN is refused, too
        raise ValueError(
            f"The version finds joints elsewhere than Keras, by {checks.keras:.1e} of the largest "
            f"coordinate; at most {limit:.0e} was expected."
        )
    if not checks.bytes <= _PLACES_TOLERANCES[precision]:
        raise ValueError(
            f"Joints are found elsewhere in pictures as bytes, by {checks.bytes:.2f} pixels; at "
            f"most {_PLACES_TOLERANCES[precision]} was expected."
        )
    return checks


def _by_boxes(session, reference, files, pictures, size) -> tuple[np.ndarray, np.ndarray]:
    """Joints by the signature of boxes, and those that Keras finds in what is cut out here."""
    boxes, expected = [], []
    for picture in pictures:
        height, width = picture.shape[:2]
        y1, x1, y2, x2 = height // 8, width // 4, height, max(width // 2, width // 4 + 1)
        boxes.append((y1, x1, y2, x2))
        pixels, (scale, x, y) = cut(picture, (x1, y1, x2 - x1, y2 - y1), size)
        found = reference.outputs(pixels[None].astype(np.float32))[KEYPOINTS][0]
        expected.append(found * (scale, scale, 1) + (x, y, 0))
    inputs = {IMAGE_BYTES: files, BOXES: np.float32(boxes)}
    return _run_all(session, BOXES, inputs)[KEYPOINTS], np.stack(expected)


def _execute_warmup(session, version) -> int:
    """Executes the warm-up records of a version. Returns their number."""
    return sum(1 for log in read_warmup(version) if execute(session, log))


def _by_function(signatures, batches, output: str) -> np.ndarray:
    function = signatures[IMAGE_TENSOR]
    return np.concatenate([function(tf.constant(batch))[output].numpy() for batch in batches])


def _joined(answers: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenates the outputs of several batches."""
    answers = list(answers)
    return {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}


def _largest_of_paths(session, images, steps) -> float:
    """Returns the largest difference of any step's logits from Keras', relative to the largest."""
    found = []
    for step, reference in enumerate(steps):
        thresholds = forcing(step, len(steps))
        inputs = {IMAGES: images, THRESHOLDS: thresholds}
        answers = _run_all(session, THRESHOLDS_SIGNATURE, inputs)
        if set(answers[EXIT]) != {step}:
            raise ValueError(
                f"Thresholds that should have it answer at step {step} have it answer at "
                f"{sorted(set(answers[EXIT]))}."
            )
        found.append(_relative(answers[LOGITS], reference.outputs(images)[LOGITS]))
    return max(found)


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return _largest(found - expected) / _largest(expected)


def _run(session: SavedModelSession, name: str, key: str, values) -> dict[str, np.ndarray]:
    return _run_all(session, name, {key: values})


def _run_all(session: SavedModelSession, name: str, inputs) -> dict[str, np.ndarray]:
    signature = session.signature_defs[name]
    outputs = list(signature.outputs)
    found = session.run(
        {signature.inputs[key].name: values for key, values in inputs.items()},
        [signature.outputs[output].name for output in outputs],
    )
    return dict(zip(outputs, found, strict=True))


def _examples(pictures: np.ndarray) -> np.ndarray:
    examples = []
    for picture in pictures:
        example = tf.train.Example()
        example.features.feature[ENCODED_FEATURE].bytes_list.value.append(picture)
        examples.append(example.SerializeToString())
    return np.array(examples, object)


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max())


def _median(values: np.ndarray) -> float:
    return float(np.median(np.abs(values)))
