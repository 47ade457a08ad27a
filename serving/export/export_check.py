"""What a version must prove before it is published, in the session that TensorFlow Serving uses."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from converters.dynamic.paths import forcing
from converters.verification.verify_artefact import BFLOAT16, FLOAT32, Artefact
from levit_tf.pictures.images import load_images
from serving.export.export_graph import Signature
from serving.export.signature_pictures import sample_files
from serving.export.warmup_requests import execute, read_warmup
from serving.signatures import (
    CLASSES,
    CLASSIFY,
    ENCODED_FEATURE,
    EXAMPLES,
    EXIT,
    IMAGE_BYTES,
    IMAGE_TENSOR,
    IMAGES,
    LOGITS,
    PROBABILITIES,
    SCORES,
    SERVING_DEFAULT,
    THRESHOLDS,
    THRESHOLDS_SIGNATURE,
)
from serving.tensorflow_c.c_api import SavedModelSession, TensorFlowError

TOLERANCES = {"float32": FLOAT32.tolerance, "bfloat16": BFLOAT16.tolerance}
# Of probabilities for the same pixels. TensorFlow may fuse an addition with another neighbour from
# one signature to the next, and then bfloat16 rounds elsewhere.
BYTES_TOLERANCES = {"float32": 1e-6, "bfloat16": 1e-2}


@dataclasses.dataclass(frozen=True)
class Checks:
    """How far a version's answers are from what they should be.

    Attributes:
      function: largest difference of a logit between the session and the same function run by
        TensorFlow in Python.
      keras: the same between the session and the Keras model that was given, relative to the
        largest logit; of probabilities where that model has no logits to show.
      bytes: largest difference of a probability between encoded pictures and the same pictures
        preprocessed by `levit_tf`.
      requests: how many warm-up records were executed.
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
) -> Checks:
    """Loads a version as TensorFlow Serving does and compares its answers.

    Args:
      version: its folder, with warm-up records.
      reference: the model that it was made from, called as its user calls it; see
        `converters.verification.verify_keras.model_artefact`.
      signatures: the functions that it was made from.
      precision: what these compute in.
      steps: of a classifier in steps what each of them should say, see
        `converters.dynamic.paths.references`.

    Returns:
      The differences found, all within the tolerances.

    Raises:
      ValueError: the version cannot be loaded, fails on a record, or answers wrongly.
    """
    try:
        with SavedModelSession(version) as session:
            return _check(session, version, reference, signatures, precision, steps)
    except TensorFlowError as error:
        raise ValueError(f"The version does not work in TensorFlow's session: {error}") from error


def _check(session, version, reference, signatures, precision, steps) -> Checks:
    files = sample_files()
    pictures = np.array(list(files.values()), object)
    images = load_images(list(files.values()), reference.network.input_shape[1:3])
    answers = _run(session, IMAGE_TENSOR, IMAGES, images)
    by_function = signatures[IMAGE_TENSOR](tf.constant(images))[LOGITS].numpy()
    if steps:
        compared, of_keras = LOGITS, _largest_of_paths(session, images, steps)
    else:
        by_keras = reference.outputs(images)
        compared = LOGITS if LOGITS in by_keras else PROBABILITIES
        of_keras = _relative(answers[compared], by_keras[compared])
    from_bytes = _run(session, SERVING_DEFAULT, IMAGE_BYTES, pictures)
    from_examples = _run(session, CLASSIFY, EXAMPLES, _examples(pictures))
    requests = 0
    for log in read_warmup(version):
        execute(session, log)
        requests += 1
    checks = Checks(
        function=_largest(answers[LOGITS] - by_function),
        keras=of_keras,
        bytes=_largest(from_bytes[PROBABILITIES] - answers[PROBABILITIES]),
        requests=requests,
    )
    if not checks.keras <= TOLERANCES[precision]:  # so that NaN is refused, too
        raise ValueError(
            f"The version differs from Keras by {checks.keras:.1e} of the largest of the "
            f"{compared}; at most {TOLERANCES[precision]:.0e} was expected."
        )
    if not checks.bytes <= BYTES_TOLERANCES[precision]:
        differences = np.abs(from_bytes[PROBABILITIES] - answers[PROBABILITIES]).max(axis=1)
        raise ValueError(
            f"{list(files)[differences.argmax()]} pictures are answered differently as bytes: "
            f"probabilities differ by {checks.bytes:.1e}; at most "
            f"{BYTES_TOLERANCES[precision]:.0e} was expected."
        )
    if not all(np.array_equal(from_examples[key], from_bytes[key]) for key in (CLASSES, SCORES)):
        raise ValueError(f"{CLASSIFY!r} answers otherwise than {SERVING_DEFAULT!r}.")
    return checks


def _largest_of_paths(session, images, steps) -> float:
    """How far the logits of any step are from Keras', relative to the largest."""
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
