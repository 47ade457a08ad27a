"""Exports a LeViT as a version of a model for TensorFlow Serving.

The command is `python -m serving.export`; its help has more details.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import keras

from converters.choices import CONSTANTS
from converters.deploy import class_count, deploy_graph
from converters.dynamic.paths import forcing, references
from converters.dynamic.saved_model_steps import steps_function
from converters.saved_model.conversion import write_labels
from converters.verification.verify_keras import model_artefact
from levit_lite.prediction.predictor import class_names_for
from levit_tf.applications import load_by_name
from levit_tf.dynamic.calibration import Calibration
from levit_tf.prediction.predictor import label_folders
from levit_tf.sizes import side_stride, table_size, with_input_size
from serving.export import deployment
from serving.export.export_check import Checks, check_version
from serving.export.export_graph import Dynamic, serving_signatures, write_saved_model
from serving.export.kept_shapes import check_limit
from serving.export.keypoint_graph import keypoint_signatures
from serving.export.tflite_version import write_tflite_model
from serving.export.warmup_requests import tflite_logs, warmup_logs, write_warmup
from serving.repository import Repository
from serving.signatures import (
    KEYPOINTS,
    LABELS_ASSET,
    LOGITS,
    PROBABILITIES,
    TFLITE_OF_JOINTS,
    TFLITE_OUTPUTS,
    TOP_K,
)
from serving.versions import served_versions


@dataclasses.dataclass(frozen=True)
class Export:
    """A published version.

    Attributes:
      path: folder of the version.
      version: number of the version.
      replaced: whether it took the place of an earlier version with its number.
      served: versions that models.config serves.
      checks: differences of its outputs from Keras'.
      base: path of the repository on the server.
      deployment_files: files written beside the model.
    """

    path: Path
    version: int
    replaced: bool
    served: list[int]
    checks: Checks
    base: str
    deployment_files: list[Path]


def export(
    model: keras.Model,
    name: str,
    repository: str | os.PathLike,
    *,
    version: int | None = None,
    class_names: Sequence[str] | str | os.PathLike | None = None,
    label_folders: Sequence[Path] = (),
    input_range: str | None = None,
    precision: str = "float32",
    weights: str = CONSTANTS,
    top_k: int = TOP_K,
    tflite: bool = False,
    base: str | None = None,
    overwrite: bool = False,
    quicker: Sequence[keras.Model] = (),
    calibration: Calibration | None = None,
    keep_shape_up_to: int | None = None,
) -> Export:
    """Publishes a LeViT as a version of a served model.

    Args:
      model: see `converters.deploy.deploy_graph`: a classifier, or a network that predicts joints.
        One that accepts every size is served at the size of its attention bias tables, unless
        `keep_shape_up_to` is given.
      name: name of the served model.
      repository: the folder of models; it is created if it does not exist.
      version: number of the version; by default the next one.
      class_names: names in the order of the outputs, or a file with one name per line. By default
        the model's own names; else `labels.txt` in `label_folders`; else ImageNet's for 1000
        classes; else "class 0", "class 1" and so on. For joints, their names.
      label_folders: folders to search for `labels.txt`.
      input_range: see `converters.deploy.deploy_graph`.
      precision: see `converters.saved_model.tensorflow_graph.tensorflow_function`.
      weights: see `converters.saved_model.tensorflow_graph.tensorflow_function`.
      top_k: number of classes to return; all of them if there are fewer.
      tflite: whether to add a `model.tflite`, for `--prefer_tflite_model`. Warm-up then covers only
        what both kinds of server support.
      base: path of the repository on the server, an absolute path or a URI; by default that in
        models.config for this model, or the repository's path.
      overwrite: whether an existing version may be replaced.
      quicker: the networks of a cascade that run before `model`, the fastest first.
      calibration: calibration of a dynamic classifier: `model` has exits, or there are quicker
        networks. None for an ordinary network, or to serve the whole network of a model with exits.
      keep_shape_up_to: for a network that accepts every size, the longest side in pixels; pictures
        keep their shape up to it. Sides become the nearest multiples of the stem's stride.

    Returns:
      The published version.

    Raises:
      FileExistsError: the version exists and `overwrite` is false.
      ValueError: `model` cannot be exported, an argument is not valid, or the version's outputs
        differ from Keras'. Nothing is published then.
      OSError: the repository cannot be written to.
    """
    repository = Repository(repository)
    base = base and _checked_base(base)
    repository.read_config()  # a damaged one must be found before anything is published
    with repository.new_version(name, version, overwrite) as draft:
        model = _of_served_size(model, keep_shape_up_to, tflite or calibration is not None)
        reference = model_artefact(model, f"Model {model.name!r}", input_range, few=True)
        graph = deploy_graph(model, input_range=input_range, is_open=keep_shape_up_to is not None)
        _check_served(graph)
        has_joints = KEYPOINTS in graph.output
        count = graph.output[KEYPOINTS].shape[1] if has_joints else class_count(graph)
        own = reference.network.class_names
        if has_joints and not own:
            own = tuple(f"joint_{n}" for n in range(count))
        names = class_names_for(class_names, label_folders, count, own)
        models, dynamic, steps = [*quicker, model], None, ()
        if calibration is not None:
            if (precision, weights) != ("float32", CONSTANTS) or tflite:
                raise ValueError(
                    "A classifier in steps is served in float32, as a SavedModel with constants."
                )
            steps = references(models, input_range)
            sharpness = [1 / temperature for temperature in calibration.temperatures]
            function = steps_function(models, sharpness, input_range)
            dynamic = Dynamic(function, calibration.thresholds)
        if has_joints:
            signatures = keypoint_signatures(graph, names, precision, weights)
        else:
            signatures = serving_signatures(
                graph,
                names,
                precision=precision,
                weights=weights,
                top_k=top_k,
                dynamic=dynamic,
                keep_shape_up_to=keep_shape_up_to,
            )
        write_saved_model(draft.path, signatures)
        (draft.path / LABELS_ASSET).parent.mkdir(exist_ok=True)
        write_labels(draft.path / LABELS_ASSET, names)
        size = graph.input.shape[1:3]
        if keep_shape_up_to is not None:
            size = tuple(min(side, keep_shape_up_to) for side in table_size(graph))
        if tflite:
            write_tflite_model(draft.path, model, names, input_range)
        paths = [forcing(step, len(steps)) for step in range(len(steps))]
        if tflite:
            logs = tflite_logs(name, size, TFLITE_OF_JOINTS if has_joints else TFLITE_OUTPUTS)
        else:
            logs = warmup_logs(name, size, paths, has_classes=not has_joints)
        write_warmup(draft.path, logs)
        kept = None if keep_shape_up_to is None else (keep_shape_up_to, side_stride(graph))
        checks = check_version(draft.path, reference, signatures, precision, steps, kept)
    with repository.edited_model(name, base and f"{base}/{name}") as served:
        base = served.base_path.removesuffix(f"/{name}")
        numbers = served_versions(served, list(repository.versions(name)))
    written = deployment.write_deployment(repository.path, base)
    return Export(draft.path, draft.number, draft.replaced, numbers, checks, base, written)


def _of_served_size(
    model: keras.Model, keep_shape_up_to: int | None, is_fixed: bool
) -> keras.Model:
    """Returns the network in its served form: of a fixed size, or of every size up to a limit.

    Args:
      model: the given network.
      keep_shape_up_to: see `export`.
      is_fixed: whether another option needs a fixed size.

    Raises:
      ValueError: the limit does not fit this network.
    """
    is_open = len(model.inputs) == 1 and None in tuple(model.inputs[0].shape)[1:3]
    if keep_shape_up_to is None:
        return with_input_size(model, table_size(model)) if is_open else model
    if not is_open or is_fixed:
        raise ValueError(
            "--keep_shape_up_to is for networks of every size (levit_tf.with_input_size(model, "
            "None)), without --tflite and --dynamic. "
            f"Received: a network for {model.inputs[0].shape[1:3]}"
        )
    check_limit(keep_shape_up_to, side_stride(model))
    return model


def _check_served(graph: keras.Model) -> None:
    """Raises ValueError if the signatures cannot serve the network."""
    channels = graph.input.shape[3]
    if channels == 3 and KEYPOINTS in graph.output:
        return
    if channels != 3 or not {LOGITS, PROBABILITIES} <= set(graph.output):
        raise ValueError(
            "A served model takes pictures of 3 channels, and returns logits and their softmax or "
            f"sigmoid for each class, or joints. This one takes {channels} and returns "
            f"{', '.join(graph.output)}. python -m converters.to_saved_model exports it for "
            "tensors, which TensorFlow Serving serves as well."
        )
    if class_count(graph) == 1:
        raise ValueError(
            "A served model names its classes, and this one has a single output. End it in two "
            "classes with a softmax, or export it by python -m converters.to_saved_model."
        )


def load_model(source: str) -> tuple[keras.Model, list[Path]]:
    """Loads a Keras model as `levit_tf.applications.load_by_name` does.

    Returns:
      The model, and the folders to search for its `labels.txt`.
    """
    return load_by_name(source), label_folders(Path(source))


def _checked_base(base: str) -> str:
    if not base.startswith("/") and "://" not in base:
        raise ValueError(
            "--base is the repository as the server sees it: an absolute path, such as /models, or "
            f"a URI. Received: {base!r}"
        )
    return base.rstrip("/")
