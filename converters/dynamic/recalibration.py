"""Sets new thresholds in an existing dynamic file, calibrated on the user's pictures.

The command is `python -m converters.recalibrate`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from converters.dynamic.paths import forcing
from converters.dynamic.record import RECORD_FILE, calibration_json, check_thresholds
from converters.dynamic.running import DynamicFile, open_dynamic
from converters.speed.turns import in_turns
from levit_common.files import atomic_path
from levit_common.json_files import write_json
from levit_common.regular_files import ModelFileError
from levit_common.shipped_names import SHARPNESS, THRESHOLDS
from levit_tf.dynamic.budget import within_budget
from levit_tf.dynamic.calibration import Calibration, calibrate, check_enough
from levit_tf.opening.saved_models import GRAPH_FILE
from levit_tf.pictures.labelled_pictures import LabelledPictures

_TIMED = 30  # number of timed calls of each path


def recalibrate(
    path: str | os.PathLike,
    pictures: LabelledPictures,
    *,
    epsilon: float = 0.01,
    delta: float = 0.1,
    budget_ms: float | None = None,
    statistic: str = "mean",
    trust: bool = False,
) -> Calibration:
    """Calibrates new thresholds, and sets them in a file and in `dynamic.json` next to it.

    Args:
      path: see `converters.dynamic.running.open_dynamic`.
      pictures: labelled pictures not used in training.
      epsilon: see `levit_tf.dynamic.calibration`.
      delta: see `levit_tf.dynamic.calibration`.
      budget_ms: time limit per picture in milliseconds, used instead of epsilon, see
        `levit_tf.dynamic.budget`. Times are measured here, with one picture at a time and one
        thread; of a SavedModel, with the threads of TensorFlow in this process.
      statistic: statistic of the times that is compared with `budget_ms`.
      trust: see `converters.dynamic.running.open_dynamic`.

    Raises:
      FileNotFoundError, ModelFileError: see `converters.dynamic.running.open_dynamic`.
      ValueError: there are too few pictures, no threshold keeps to the time limit, or the process
        runs in the SavedModel. Then the file is unchanged.
    """
    path = Path(path)
    _check_outside(path)  # before any picture is read
    file = open_dynamic(path, trust, threads=1)
    if budget_ms is None:
        check_enough(len(pictures), epsilon, delta)  # before any picture is read
    logits, labels = all_logits(file, pictures)
    if budget_ms is None:
        found = calibrate(logits, labels, epsilon=epsilon, delta=delta)
    else:
        # The paths take turns, so that other load on the machine affects all of them equally.
        paths = in_turns(file.calls_of_paths(next(pictures.batches())[0][:1]), _TIMED)
        times = [found.ms for found in paths.values()]
        found = within_budget(logits, labels, times, budget_ms, statistic=statistic, delta=delta)
    set_thresholds(path, found.thresholds, found.temperatures)
    _note(path, calibration_json(found, pictures))
    return found


def set_by_hand(path: str | os.PathLike, thresholds: Sequence[float], trust: bool = False) -> None:
    """Sets given thresholds, without a statistical guarantee; see `recalibrate`.

    Raises:
      FileNotFoundError, ModelFileError: see `converters.dynamic.running.open_dynamic`.
      ValueError: a threshold is not a confidence, their number is wrong, or the process runs in the
        SavedModel.
    """
    check_thresholds(thresholds)
    path = Path(path)
    _check_outside(path)
    steps = open_dynamic(path, trust).steps
    if len(thresholds) != steps - 1:
        raise ValueError(
            f"{path}: has {steps} steps, and so {steps - 1} thresholds. Received: {len(thresholds)}"
        )
    set_thresholds(path, thresholds)
    _note(path, {"thresholds": list(thresholds), "promise": "none: set by hand"})


def _check_outside(path: Path) -> None:
    """Raises ValueError if the process runs in a SavedModel, which is replaced as a whole."""
    if path.is_dir() and Path.cwd().is_relative_to(path.resolve()):
        raise ValueError(
            f"{path.resolve()}: this command runs in this folder, which it would replace. Run "
            "it in another."
        )


def all_logits(
    file: DynamicFile, pictures: LabelledPictures
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns logits (n, classes) of each step, and labels; runs all pictures through each step."""
    rows: list[list[np.ndarray]] = [[] for _ in range(file.steps)]
    labels = []
    for images, of_batch in pictures.batches():
        labels.append(of_batch)
        for step in range(file.steps):
            thresholds = forcing(step, file.steps)
            rows[step] += [file.answer(image[None], thresholds).logits.copy() for image in images]
    return [np.concatenate(of_step) for of_step in rows], np.concatenate(labels)


def set_thresholds(
    path: str | os.PathLike,
    thresholds: Sequence[float],
    temperatures: Sequence[float] | None = None,
) -> None:
    """Writes thresholds into a dynamic file, which is never in an incomplete state.

    Args:
      path: see `converters.dynamic.running.open_dynamic`.
      thresholds: threshold of each step except the last.
      temperatures: temperature of each of these steps; None to keep those in the file.

    Raises:
      ModelFileError: the file has no place for them, or for another number of them.
    """
    path = Path(path)
    values = {THRESHOLDS: np.float32(thresholds)}
    if temperatures is not None:
        values[SHARPNESS] = 1 / np.float32(temperatures)
    if path.is_dir():
        _set_in_saved_model(path, values)
    elif path.suffix.lower() == ".tflite":
        content = bytearray(path.read_bytes())
        _set_in_tflite(content, values, path)
        with atomic_path(path, overwrite=True) as temporary:
            Path(temporary).write_bytes(content)
    else:
        _set_in_onnx(path, values)


def _set_in_tflite(content: bytearray, values: dict[str, np.ndarray], path: Path) -> None:
    """Changes constants in place, so that all other bytes stay the same, including metadata."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    found = set()
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            name, buffer = tensor.Name().decode(), model.Buffers(tensor.Buffer())
            if name in values and buffer.DataLength():
                place = buffer.DataAsNumpy()
                _check_room(place.size, values[name].nbytes, path)
                place[:] = np.frombuffer(values[name].tobytes(), np.uint8)
                found.add(name)
    _check_found(found, values, path)


def _set_in_onnx(path: Path, values: dict[str, np.ndarray]) -> None:
    import onnx

    model = onnx.load(path)
    found = set()
    for tensor in model.graph.initializer:
        if tensor.name in values:
            _check_room(int(np.prod(tensor.dims)), values[tensor.name].size, path)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
            found.add(tensor.name)
    _check_found(found, values, path)
    with atomic_path(path, overwrite=True) as temporary:
        onnx.save_model(model, temporary)


def _set_in_saved_model(path: Path, values: dict[str, np.ndarray]) -> None:
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    saved.ParseFromString((path / GRAPH_FILE).read_bytes())
    found = set()
    for meta in saved.meta_graphs:
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op == "Const" and node.name in values:
                    value = tf.make_tensor_proto(values[node.name])
                    _check_room(
                        node.attr["value"].tensor.tensor_shape.dim[0].size,
                        len(values[node.name]),
                        path,
                    )
                    node.attr["value"].tensor.CopyFrom(value)
                    found.add(node.name)
    _check_found(found, values, path)
    with atomic_path(path, overwrite=True, made_of=[GRAPH_FILE]) as temporary:
        # The fingerprint belongs to the old graph; TensorFlow loads models without one.
        shutil.copytree(path, temporary, ignore=shutil.ignore_patterns("fingerprint.pb"))
        Path(temporary, GRAPH_FILE).write_bytes(saved.SerializeToString(deterministic=True))


def _check_room(there: int, wanted: int, path: Path) -> None:
    if there != wanted:
        raise ModelFileError(f"{path}: has thresholds for another number of steps.")


def _check_found(found: set[str], values: dict[str, np.ndarray], path: Path) -> None:
    if missing := set(values) - found:
        raise ModelFileError(
            f"{path}: no dynamic file of converters.to_dynamic: it has no constant "
            f"{sorted(missing)[0]!r}."
        )


def _note(path: Path, calibration: dict) -> None:
    """Stores a calibration in the record next to a file, if there is one."""
    record = path.parent / RECORD_FILE
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        content["files"][path.name]["calibration"] = path.name
        content["calibration"][path.name] = calibration
    except (OSError, ValueError, KeyError, TypeError):
        return
    write_json(record, content)
