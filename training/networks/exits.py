"""The networks of a run that trains exits: branches on a trained LeViT, or both together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import levit_tf
from levit_common.json_files import write_json
from levit_common.markdown import markdown_table
from levit_tf.dynamic.confidence import expected_calibration_error
from levit_tf.dynamic.exits import add_exits, exit_layers
from levit_tf.keras_graph.introspection import classifier_of
from levit_tf.names import WHOLE
from levit_tf.preprocessing import preprocess_input
from training.config import Config
from training.data import Dataset
from training.networks import network
from training.networks.initial import Source, check_fits, trained_network
from training.networks.network import Networks
from training.notation import parse_exits
from training.optim.batch_norm import prepare_batch_norm

EXITS_FILE = "exits.json"
_BATCH = 32


def prepare(config: Config, source: Source, data: Dataset, replicas: int) -> Callable[[], Networks]:
    """Loads the trained network of a run and prepares building the networks.

    Args:
      config: the configuration, with `exits`.
      source: its initial weights.
      data: pictures with the network's input size and classes.
      replicas: number of replicas.

    Returns:
      A function that builds the networks, to call in the scope of the strategy.

    Raises:
      ValueError: it is not a LeViT to which exits for these pictures can be added.
    """
    is_frozen, classes = not config.exits_end_to_end, len(data.class_names)
    trained = _trained(config, source, data) if is_frozen else None
    if trained is not None:
        heads = "single" if classifier_of(trained).heads == "single" else "average"
    else:
        heads = "single" if config.distillation == "none" else "average"

    def build() -> keras.Model:
        levit = levit_tf.LeViT(
            config.variant,
            input_shape=(*network.input_size(config), 3),
            classes=classes,
            heads=heads,
            drop_path_rate=0.0 if is_frozen else config.drop_path,
            classifier_activation=None,
        )
        return add_exits(levit, parse_exits(config.exits))

    def student() -> keras.Model:
        model = build()
        if is_frozen:
            branches = exit_layers(model)
            for layer in model.layers:
                layer.trainable = layer in branches
        prepare_batch_norm(model, replicas, config.batch_norm_momentum)
        return model

    def make() -> Networks:
        model = student()
        if is_frozen:
            levit_tf.transfer_weights(trained, _without_exits(model))
            beginning = f"exits on {config.init_from}, which stays as it is"
        else:
            beginning, _ = network.initialise(source, _without_exits(model), data.class_names)
        return Networks(
            model,
            student() if config.ema_decay else None,
            beginning=beginning,
            shipped=lambda learner: network.copy_weights(learner, build()),
            is_head_fresh=True,  # those of the exits
        )

    return make


@dataclasses.dataclass(frozen=True)
class ExitReport:
    """The results of one output of a network with exits on held-out pictures.

    Attributes:
      name: name of the output.
      parameters: number of its branch's parameters; for the whole network, those outside of the
        branches.
      top1: share of pictures whose label is predicted, 0..1.
      agreement: share of pictures for which it predicts the same class as the whole network, 0..1.
      calibration_error: expected calibration error, 0..1.
    """

    name: str
    parameters: int
    top1: float
    agreement: float
    calibration_error: float


def check_exits(
    model: keras.Model, folder: Path, images: np.ndarray, labels: np.ndarray
) -> list[ExitReport]:
    """Classifies pictures by every exit, and writes the results to `exits.json`.

    Args:
      model: a result of `levit_tf.dynamic.exits.add_exits`.
      folder: folder of the run.
      images: (n, height, width, 3), RGB 0..255.
      labels: (n,) integers.
    """
    answers: dict[str, list[Any]] = {}
    for start in range(0, len(images), _BATCH):
        batch = preprocess_input(images[start : start + _BATCH].astype(np.float32))
        for name, logits in model.predict_on_batch(batch).items():
            answers.setdefault(name, []).append(np.asarray(logits))
    found = {name: np.concatenate(rows) for name, rows in answers.items()}
    whole = found[WHOLE].argmax(axis=1)
    parameters = dict.fromkeys(found, 0)
    for layer in exit_layers(model):
        parameters[_exit_of(layer.name, found)] += layer.count_params()
    parameters[WHOLE] = model.count_params() - sum(parameters.values())
    reports = [
        ExitReport(
            name,
            parameters[name],
            float(np.mean(logits.argmax(axis=1) == labels)),
            float(np.mean(logits.argmax(axis=1) == whole)),
            expected_calibration_error(logits, labels),
        )
        for name, logits in found.items()
    ]
    write_json(folder / EXITS_FILE, [dataclasses.asdict(report) for report in reports])
    return reports


def format_exits(reports: list[ExitReport]) -> str:
    """Formats the reports as a Markdown table."""
    header = ("answer", "parameters", "top-1, %", "as the whole, %", "calibration error, %")
    rows = [
        (
            report.name,
            f"{report.parameters:,}",
            f"{100 * report.top1:.2f}",
            f"{100 * report.agreement:.2f}",
            f"{100 * report.calibration_error:.2f}",
        )
        for report in reports
    ]
    return markdown_table([header, *rows], right=range(1, len(header)))


def _trained(config: Config, source: Source, data: Dataset) -> keras.Model:
    """Loads the network that exits are added to."""
    model = trained_network(source)
    classifier = classifier_of(model)
    if classifier is None:
        raise ValueError(f"init_from={config.init_from}: has no classification heads to exit to.")
    size, classes = tuple(model.input_shape[1:3]), classifier.classes
    if None in size:
        raise ValueError(
            f"init_from={config.init_from}: takes pictures of any size. Exits are trained for one: "
            "save levit_tf.with_input_size(model, (height, width)) and begin with that file."
        )
    check_fits(
        model,
        f"init_from={config.init_from}",
        data,
        size=size,
        classes=classes,
        advice="Exits are put on a network that was trained for them; exits_end_to_end=true trains "
        "both.",
    )
    return _without_exits(model)


def _without_exits(model: keras.Model) -> keras.Model:
    """Returns the network inside of one with exits; it shares its layers."""
    logits = classifier_of(model).output
    return keras.Model(model.input, logits, name=model.name)


def _exit_of(layer: str, outputs: Iterable[str]) -> str:
    """Returns the exit of a layer: "exits_0_1_attn" belongs to "exits_0_1", not to "exits_0"."""
    return max((name for name in outputs if f"{layer}_".startswith(f"{name}_")), key=len)
