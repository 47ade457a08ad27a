"""A classifier in steps to files that skip what a picture does not need.

The command is `python -m converters.to_dynamic`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

import levit_tf
from converters.choices import DEFAULT_CALIBRATION_METHOD, DEFAULT_OPSET
from converters.dynamic import onnx_branches, tflite_branches
from converters.dynamic.graph import answer_name, dynamic_graph, step_names
from converters.dynamic.paths import check_paths, references
from converters.dynamic.record import RECORD_FILE, calibration_json
from converters.dynamic.running import of_interpreter, open_dynamic
from converters.dynamic.saved_model_steps import write_steps
from converters.onnx.conversion import onnx_of, save
from converters.saved_model.conversion import write_labels
from converters.tflite.conversion import float32_graph
from converters.tflite.metadata import with_metadata
from converters.tflite.quantize import quantize_mixed_int8
from converters.tflite.tflite_graph import Graph
from converters.verification.verify_artefact import FLOAT32, INT8
from levit_common.arrays import spread_indices
from levit_common.files import atomic_path
from levit_common.json_files import write_json
from levit_common.shipped_names import INPUT, SIGNATURE
from levit_lite.class_names import LABELS_FILE
from levit_lite.prediction.tflite_network import open_tflite
from levit_tf.dynamic.calibration import Calibration, calibrate
from levit_tf.pictures.labelled_pictures import LabelledPictures

FORMATS = ("tflite", "saved_model", "onnx")
RECIPES = ("fp32", "int8")
SAVED_MODEL, ONNX = "saved_model", "model.onnx"
_CHECKED = 8  # pictures that each path is compared on
_RANGES_FROM = 128  # pictures that int8 learns ranges from

# Logits of every step, and the labels: choose thresholds.
Choose = Callable[[Sequence[np.ndarray], np.ndarray], Calibration]


def tflite_name(recipe: str) -> str:
    """Name of the TFLite file with IF of a recipe."""
    return f"{recipe}.tflite"


def steps_name(recipe: str) -> str:
    """Name of the TFLite file with a signature for each step."""
    return f"{recipe}-steps.tflite"


class _Logits(NamedTuple):
    """What all steps say to the calibration pictures."""

    steps: list[np.ndarray]
    labels: np.ndarray


def to_dynamic(
    models: Sequence[keras.Model],
    path: str | os.PathLike,
    *,
    pictures: LabelledPictures,
    epsilon: float,
    delta: float = 0.1,
    class_names: Sequence[str] | None = None,
    formats: Sequence[str] = FORMATS,
    recipes: Sequence[str] = RECIPES,
    input_range: str | None = None,
    sources: Sequence[str | os.PathLike] = (),
    choose: Choose | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Calibrates a classifier in steps and writes it in every format.

    The thresholds of a file come of what it says itself: those of an int8 file of its own logits.

    Args:
      models: see `converters.dynamic.graph.dynamic_graph`.
      path: the folder to write.
      pictures: for the thresholds, of pictures that training has not seen, and, some of them, for
        the ranges of int8 and for the comparison with Keras.
      epsilon: see `levit_tf.dynamic.calibration`.
      delta: see `levit_tf.dynamic.calibration`.
      class_names: one for each class; by default those of the first model.
      formats: some of `FORMATS`.
      recipes: some of `RECIPES`, for TFLite.
      input_range: see `converters.deploy.deploy_graph`.
      sources: the files that the models are from, for the record.
      choose: chooses thresholds in place of epsilon and delta.
      overwrite: whether an existing folder is replaced.

    Returns:
      What `dynamic.json` in the folder says.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false.
      ImportError: a package of a format is missing.
      ValueError: an argument is not valid, there are too few pictures for epsilon and delta, or a
        path of a file does not compute what Keras does. Nothing is written then.
    """

    def usual(logits, labels):
        return calibrate(logits, labels, epsilon=epsilon, delta=delta)

    choose = choose or usual
    with atomic_path(path, overwrite) as temporary:
        folder = Path(temporary)
        folder.mkdir()
        expected = references(models, input_range)
        some = _some(pictures, _RANGES_FROM)
        checked = some[spread_indices(len(some), _CHECKED)]
        graph = dynamic_graph(models, input_range=input_range)
        logits = _keras_logits(graph, pictures)
        found = {"fp32": choose(logits.steps, logits.labels)}
        sharpness = {"fp32": _sharpness(found["fp32"])}
        record: dict[str, Any] = {
            "steps": step_names(models),
            "models": [Path(source).name for source in sources],
            "version": levit_tf.__version__,
            "calibration": {},
            "files": {},
        }

        def note(name, recipe, differences):
            size = _size(folder / name)
            record["files"][name] = {
                "calibration": recipe,
                "bytes": size,
                "relative_difference_of_each_path": differences,
            }

        names = list(class_names or ())
        if names:
            write_labels(folder / LABELS_FILE, names)
        if "tflite" in formats:
            for recipe in recipes:
                lite = float32_graph(dynamic_graph(models, 1, input_range))
                precision = FLOAT32
                if recipe == "int8":
                    precision = INT8
                    method = DEFAULT_CALIBRATION_METHOD if len(some) >= 8 else "min_max"
                    lite = quantize_mixed_int8(lite, some, None, method)
                    own = _tflite_logits(lite, len(expected), pictures, folder)
                    found[recipe] = choose(own.steps, own.labels)
                    sharpness[recipe] = _sharpness(found[recipe])
                content = lite.content()
                branches = tflite_branches.with_branches(
                    Graph(content), sharpness[recipe], found[recipe].thresholds
                )
                description = f"{recipe}; {found[recipe]}"
                file = folder / tflite_name(recipe)
                file.write_bytes(
                    with_metadata(
                        branches,
                        name=models[0].name,
                        description=description,
                        class_names=names or None,
                    )
                )
                opened = of_interpreter(file, open_tflite(file, 1))
                note(
                    file.name,
                    recipe,
                    check_paths(expected, opened.answer, precision, checked, file.name),
                )
                steps = tflite_branches.with_steps(Graph(content), sharpness[recipe])
                file = folder / steps_name(recipe)
                file.write_bytes(
                    with_metadata(
                        steps,
                        name=models[0].name,
                        description=description,
                        class_names=names or None,
                    )
                )
                _check_steps(file, content, len(expected), checked)
                note(file.name, recipe, None)
        if "saved_model" in formats:
            file = folder / SAVED_MODEL
            write_steps(models, file, sharpness["fp32"], found["fp32"].thresholds, input_range)
            if names:
                write_labels(file / LABELS_FILE, names)
            opened = open_dynamic(file)
            note(
                file.name,
                "fp32",
                check_paths(expected, opened.answer, FLOAT32, checked, file.name),
            )
        if "onnx" in formats:
            model = onnx_of(dynamic_graph(models, input_range=input_range), DEFAULT_OPSET, 1)
            onnx_branches.with_branches(model, sharpness["fp32"], found["fp32"].thresholds)
            file = folder / ONNX
            save(model, file, names or None)
            opened = open_dynamic(file)
            note(
                file.name,
                "fp32",
                check_paths(expected, opened.answer, FLOAT32, checked, file.name),
            )
        record["calibration"] = {
            recipe: calibration_json(one, pictures) for recipe, one in found.items()
        }
        write_json(folder / RECORD_FILE, record)
    return record


def _sharpness(found: Calibration) -> list[float]:
    return [1 / temperature for temperature in found.temperatures]


def _some(pictures: LabelledPictures, count: int) -> np.ndarray:
    """At most so many of the pictures, evenly spread."""
    indices = spread_indices(len(pictures), count)
    return np.concatenate([images for images, _ in pictures.only(indices).batches()])


def _keras_logits(graph: keras.Model, pictures: LabelledPictures) -> _Logits:
    """What the graph says, on the pixels that every file takes."""
    rows, labels = [], []
    for images, of_batch in pictures.batches():
        rows.append({name: np.asarray(y) for name, y in graph.predict_on_batch(images).items()})
        labels.append(of_batch)
    return _joined(rows, labels)


def _tflite_logits(lite: Graph, steps: int, pictures: LabelledPictures, folder: Path) -> _Logits:
    """What all steps of a graph that has not been cut say."""
    runner = _plain_runner(lite.content(), folder)
    rows, labels = [], []
    for images, of_batch in pictures.batches():
        answers = [runner(**{INPUT: image[None]}) for image in images]
        rows += [{name: y.copy() for name, y in one.items()} for one in answers]
        labels.append(of_batch)
    return _joined(rows, labels)


def _joined(rows, labels) -> _Logits:
    steps = [
        np.concatenate([row[answer_name(step)] for row in rows]) for step in range(len(rows[0]))
    ]
    return _Logits(steps, np.concatenate(labels))


def _plain_runner(content: bytes, folder: Path):
    """The signature of a file's content, which is written nowhere else."""
    file = folder / "plain.tflite"
    file.write_bytes(content)
    try:
        return open_tflite(file, 1).get_signature_runner(SIGNATURE)
    finally:
        file.unlink()


def _check_steps(path: Path, content: bytes, steps: int, images: np.ndarray) -> None:
    """Refuses a file of steps that does not say to the bit what the uncut graph says."""
    from converters.dynamic.steps_file import run_steps

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


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
