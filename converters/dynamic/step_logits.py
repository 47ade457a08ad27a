"""Logits of every step of a classifier in steps, and the comparison of a file of steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from converters.dynamic.graph import answer_name
from converters.tflite.tflite_graph import Graph
from levit_common.arrays import spread_indices
from levit_common.shipped_names import INPUT, LOGITS, SIGNATURE, step_signature
from levit_lite.prediction.tflite_network import open_tflite
from levit_tf.pictures.labelled_pictures import LabelledPictures


class StepLogits(NamedTuple):
    """Logits (n, classes) of every step on the calibration pictures, and the labels (n,)."""

    steps: list[np.ndarray]
    labels: np.ndarray


def some(pictures: LabelledPictures, count: int) -> np.ndarray:
    """Returns up to `count` of the pictures, evenly chosen."""
    indices = spread_indices(len(pictures), count)
    return np.concatenate([images for images, _ in pictures.only(indices).batches()])


def keras_logits(graph: keras.Model, pictures: LabelledPictures) -> StepLogits:
    """Returns the logits of the deploy graph, which takes plain pixels as every file does."""
    rows, labels = [], []
    for images, of_batch in pictures.batches():
        rows.append({name: np.asarray(y) for name, y in graph.predict_on_batch(images).items()})
        labels.append(of_batch)
    return _joined(rows, labels)


def tflite_logits(lite: Graph, pictures: LabelledPictures, folder: Path) -> StepLogits:
    """Returns the logits of all steps of a TFLite graph that has not been split."""
    runner = _plain_runner(lite.content(), folder)
    rows, labels = [], []
    for images, of_batch in pictures.batches():
        answers = [runner(**{INPUT: image[None]}) for image in images]
        rows += [{name: y.copy() for name, y in one.items()} for one in answers]
        labels.append(of_batch)
    return _joined(rows, labels)


def _joined(rows, labels) -> StepLogits:
    steps = [
        np.concatenate([row[answer_name(step)] for row in rows]) for step in range(len(rows[0]))
    ]
    return StepLogits(steps, np.concatenate(labels))


def _plain_runner(content: bytes, folder: Path):
    """Returns the signature runner of a TFLite file, of which only the content exists."""
    file = folder / "plain.tflite"
    file.write_bytes(content)
    try:
        return open_tflite(file, 1).get_signature_runner(SIGNATURE)
    finally:
        file.unlink()


def check_steps(path: Path, content: bytes, steps: int, images: np.ndarray) -> None:
    """Refuses a file of steps whose logits are not bit-identical to those of the whole graph."""
    runner = _plain_runner(content, path.parent)
    interpreter = open_tflite(path, 1)
    for image in images:
        expected = runner(**{INPUT: image[None]})
        for step, found in enumerate(run_steps(interpreter, image[None], steps)):
            if not np.array_equal(found, expected[answer_name(step)]):
                difference = np.abs(found - expected[answer_name(step)]).max()
                raise ValueError(
                    f"{path.name}: not written, as step {step} differs from the uncut graph by "
                    f"{difference:.1e}."
                )


def run_steps(interpreter, image: np.ndarray, steps: int) -> Iterator[np.ndarray]:
    """Yields the logits (1, classes) of one step after another; the caller may stop at any time.

    Args:
      interpreter: LiteRT's interpreter of the file.
      image: pixels (1, height, width, channels).
      steps: number of steps.
    """
    known = {INPUT: image}
    for step in range(steps):
        runner = interpreter.get_signature_runner(step_signature(step))
        found = runner(**{name: known[name] for name in runner.get_input_details()})
        known |= {name: array.copy() for name, array in found.items()}
        yield known[LOGITS]
