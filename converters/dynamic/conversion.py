"""Converts a classifier in steps to files that skip unnecessary steps.

The command is `python -m converters.to_dynamic`.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import levit_tf
from converters.choices import (
    DEFAULT_CALIBRATION_METHOD,
    DEFAULT_OPSET,
    DYNAMIC_FILES,
    LEAST_CALIBRATION_IMAGES,
    STEP_FORMATS,
)
from converters.dynamic import onnx_branches, tflite_branches
from converters.dynamic.graph import dynamic_graph, step_names
from converters.dynamic.paths import check_paths, references
from converters.dynamic.recalibration import recalibrate
from converters.dynamic.record import (
    NETWORKS,
    RECORD_FILE,
    SAVED_MODEL,
    calibration_json,
    network_json,
)
from converters.dynamic.running import open_dynamic
from converters.dynamic.saved_model_steps import write_steps
from converters.dynamic.step_logits import check_steps, keras_logits, some, tflite_logits
from converters.onnx.conversion import onnx_of, save
from converters.saved_model.conversion import write_labels
from converters.tflite.conversion import float32_graph
from converters.tflite.metadata import with_metadata
from converters.tflite.quantize import quantize_mixed_int8
from converters.tflite.tflite_graph import Graph
from converters.verification.verify_artefact import FLOAT32, INT8, Precision
from levit_common.arrays import spread_indices
from levit_common.files import atomic_path, size_of
from levit_common.json_files import write_json
from levit_lite.class_names import LABELS_FILE
from levit_tf.dynamic.calibration import (
    Calibration,
    calibrate,
    check_enough,
    fitted_and_counted,
    undecided,
)
from levit_tf.pictures.labelled_pictures import LabelledPictures
from levit_tf.pictures.run_pictures import Seen, write_seen

RECIPES = ("fp32", "int8")
ONNX = "model.onnx"
_CHECKED = 8  # number of pictures on which each path is compared with Keras
_RANGES_FROM = 128  # number of pictures from which int8 learns its ranges

# Function that chooses thresholds from the logits of every step and the labels.
Choose = Callable[[Sequence[np.ndarray], np.ndarray], Calibration]


def to_dynamic(
    models: Sequence[keras.Model],
    path: str | os.PathLike,
    *,
    pictures: LabelledPictures,
    epsilon: float,
    delta: float = 0.1,
    class_names: Sequence[str] | None = None,
    formats: Sequence[str] = STEP_FORMATS,
    recipes: Sequence[str] = RECIPES,
    input_range: str | None = None,
    sources: Sequence[str | os.PathLike] = (),
    budget_ms: float | None = None,
    statistic: str = "mean",
    seen: Seen | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Calibrates a classifier in steps and writes it in every format.

    Thresholds are chosen from the logits of the file itself: an int8 file has its own thresholds.

    Args:
      models: see `converters.dynamic.graph.dynamic_graph`.
      path: the folder to write.
      pictures: pictures not used in training, from which thresholds are chosen. Some of them are
        also used for the ranges of int8 and for the comparison with Keras.
      epsilon: see `levit_tf.dynamic.calibration`.
      delta: see `levit_tf.dynamic.calibration`.
      class_names: one name per class; by default those of the first model.
      formats: formats to write, from `converters.choices.STEP_FORMATS`.
      recipes: recipes of TFLite files to write, from `RECIPES`.
      input_range: see `converters.deploy.deploy_graph`.
      sources: the files of the models, for the record.
      budget_ms: time limit per picture in milliseconds, used instead of epsilon for the files that
        choose the exit themselves; see `converters.dynamic.recalibration.recalibrate`.
      statistic: statistic of the times that is compared with `budget_ms`.
      seen: the pictures that the models were trained with, see `levit_tf.pictures.run_pictures`;
        they are listed in the folder, so that `converters.recalibrate` refuses them, too.
      overwrite: whether an existing folder is replaced.

    Returns:
      The content of `dynamic.json` in the folder.

    Raises:
      FileExistsError: `path` exists and `overwrite` is false.
      ImportError: a package that a format needs is missing.
      ValueError: an argument is not valid, there are too few pictures for epsilon and delta, no
        threshold keeps to the time limit, or a path of a file computes something else than Keras.
        Then nothing is written.
    """
    if budget_ms is None:
        check_enough(len(pictures), epsilon, delta)  # before any picture is read
        choose = functools.partial(calibrate, epsilon=epsilon, delta=delta)
    else:
        choose = functools.partial(undecided, delta=delta)
    # With damaged ones, the pictures for int8 ranges and those that are counted would overlap.
    pictures = pictures.readable()
    with atomic_path(path, overwrite, DYNAMIC_FILES, sources) as temporary:
        folder = Path(temporary)
        folder.mkdir()
        names = list(class_names or ())
        if names:
            write_labels(folder / LABELS_FILE, names)
        files = _Files(models, folder, pictures, names, input_range, choose)
        if "tflite" in formats:
            for recipe in recipes:
                files.write_tflite(recipe)
        if "saved_model" in formats:
            files.write_saved_model()
        if "onnx" in formats:
            files.write_onnx()
        record = {
            "steps": step_names(models),
            "models": [Path(source).name for source in sources],
            NETWORKS: [network_json(model) for model in models],
            "version": levit_tf.__version__,
            "calibration": {
                recipe: calibration_json(one, pictures) for recipe, one in files.found.items()
            },
            "files": files.written,
        }
        write_json(folder / RECORD_FILE, record)
        if seen:
            write_seen(folder, seen)
        if budget_ms is not None:
            chosen = {}
            for name in files.with_thresholds:
                chosen[files.written[name]["calibration"]] = recalibrate(
                    folder / name, pictures, delta=delta, budget_ms=budget_ms, statistic=statistic
                )
            record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
            # For serving.export, which takes those of fp32 if there is no SavedModel.
            for recipe, one in chosen.items():
                record["calibration"][recipe] = calibration_json(one, pictures)
            write_json(folder / RECORD_FILE, record)
    return record


class _Files:
    """Writes the files of one folder.

    Attributes:
      found: calibration of each recipe.
      written: entry in the record for each file name.
      with_thresholds: names of the files that choose the exit themselves.
    """

    def __init__(
        self,
        models: Sequence[keras.Model],
        folder: Path,
        pictures: LabelledPictures,
        class_names: Sequence[str],
        input_range: str | None,
        choose: Choose,
    ):
        self._models = models
        self._folder = folder
        self._pictures = pictures
        self._names = list(class_names) or None
        self._input_range = input_range
        self._choose = choose
        self._expected = references(models, input_range)
        # Not from those that are counted for the guarantee, which holds for a network that is there
        # before them.
        not_counted, all_of_few = fitted_and_counted(len(pictures))
        others = not_counted if len(not_counted) else all_of_few
        self._some = some(pictures.only(others), _RANGES_FROM)
        self._checked = self._some[spread_indices(len(self._some), _CHECKED)]
        logits = keras_logits(self._graph(), pictures)
        self.found = {"fp32": choose(logits.steps, logits.labels)}
        self.written: dict[str, dict[str, Any]] = {}
        self.with_thresholds: list[str] = []

    def write_tflite(self, recipe: str) -> None:
        """Writes the file with IF and the file with one signature per step."""
        lite = float32_graph(self._graph(1))
        if recipe == "int8":
            is_enough = len(self._some) >= LEAST_CALIBRATION_IMAGES
            method = DEFAULT_CALIBRATION_METHOD if is_enough else "min_max"
            lite = quantize_mixed_int8(lite, self._some, None, method)
            own = tflite_logits(lite, self._pictures, self._folder)
            self.found[recipe] = self._choose(own.steps, own.labels)
        content, found = lite.content(), self.found[recipe]
        branches = tflite_branches.with_branches(
            Graph(content), _sharpness(found), found.thresholds
        )
        file = self._write_lite(f"{recipe}.tflite", branches, recipe)
        self._check(file, INT8 if recipe == "int8" else FLOAT32, recipe)
        steps = tflite_branches.with_steps(Graph(content), _sharpness(found))
        file = self._write_lite(f"{recipe}-steps.tflite", steps, recipe)
        check_steps(file, content, len(self._expected), self._checked)
        self._note(file, recipe, None)

    def write_saved_model(self) -> None:
        file, found = self._folder / SAVED_MODEL, self.found["fp32"]
        write_steps(self._models, file, _sharpness(found), found.thresholds, self._input_range)
        if self._names:
            write_labels(file / LABELS_FILE, self._names)
        self._check(file, FLOAT32, "fp32")

    def write_onnx(self) -> None:
        file, found = self._folder / ONNX, self.found["fp32"]
        model = onnx_of(self._graph(), DEFAULT_OPSET, 1)
        save(
            onnx_branches.with_branches(model, _sharpness(found), found.thresholds),
            file,
            self._names,
        )
        self._check(file, FLOAT32, "fp32")

    def _graph(self, batch_size: int | None = None) -> keras.Model:
        return dynamic_graph(self._models, batch_size, self._input_range)

    def _write_lite(self, name: str, graph: Graph, recipe: str) -> Path:
        content = with_metadata(
            graph,
            name=self._models[0].name,
            # No figure, since converters.recalibrate changes the thresholds alone.
            description=f"{recipe}; leaves early by its thresholds, of which {RECORD_FILE} tells.",
            class_names=self._names,
        )
        (self._folder / name).write_bytes(content)
        return self._folder / name

    def _check(self, file: Path, precision: Precision, recipe: str) -> None:
        """Compares each path of a file with Keras, and adds the file to the record."""
        opened = open_dynamic(file, threads=1)
        found = check_paths(self._expected, opened.answer, precision, self._checked, file.name)
        self._note(file, recipe, found)
        self.with_thresholds.append(file.name)

    def _note(self, file: Path, recipe: str, differences: list[float] | None) -> None:
        self.written[file.name] = {
            "calibration": recipe,
            "bytes": size_of(file),
            "relative_difference_of_each_path": differences,
        }


def _sharpness(found: Calibration) -> list[float]:
    return [1 / temperature for temperature in found.temperatures]
