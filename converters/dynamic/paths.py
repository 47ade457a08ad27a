"""Compares every path of a dynamic file with the models that it was made from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from converters.verification.verify_artefact import Artefact, Precision
from converters.verification.verify_compare import check_export
from converters.verification.verify_keras import model_artefact
from levit_common.shipped_names import LOGITS
from levit_tf.dynamic.calibration import NEVER
from levit_tf.keras_graph.endings import have_exits
from levit_tf.names import WHOLE, exit_names


class Answer(NamedTuple):
    """What a dynamic file says of a batch.

    Attributes:
      logits: (batch, classes) of the step that answered.
      probabilities: (batch, classes), at that step's temperature.
      exits: (batch,) number of the step.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    exits: np.ndarray


# Pixels (1, height, width, channels) float32 and thresholds (steps - 1,) float32 -> the answer.
AnswerOne = Callable[[np.ndarray, np.ndarray], Answer]


def references(models: Sequence[keras.Model], input_range: str | None = None) -> list[Artefact]:
    """What each step should say: the models that were given, called as their user calls them."""
    if len(models) == 1 and have_exits(models[0].output):
        (model,) = models
        names = [*exit_names(model.output), WHOLE]
        models = [keras.Model(model.input, model.output[name], name=model.name) for name in names]
    return [
        model_artefact(model, f"Model {model.name!r}", input_range, few=True) for model in models
    ]


def forcing(step: int, steps: int) -> np.ndarray:
    """Thresholds with which a certain step answers, (steps - 1,)."""
    thresholds = np.full(steps - 1, NEVER, np.float32)
    if step < steps - 1:
        thresholds[step] = 0
    return thresholds


def check_paths(
    expected: Sequence[Artefact],
    answer: AnswerOne,
    precision: Precision,
    images: np.ndarray,
    path: str | os.PathLike,
) -> list[float]:
    """Refuses a file one of whose paths does not compute what the model does.

    Args:
      expected: see `references`.
      answer: the file.
      precision: what it computes in.
      images: plain pixels (n, height, width, channels).
      path: what the file is to be called, for the message.

    Returns:
      For each path the largest difference of the logits, relative to the largest.

    Raises:
      ValueError: a path leaves elsewhere, or its logits are too far off.
    """
    found = []
    for step, reference in enumerate(expected):
        thresholds = forcing(step, len(expected))

        def outputs(batch, thresholds=thresholds, step=step):
            answers = [answer(image[None], thresholds) for image in batch]
            exits = {int(one.exits[0]) for one in answers}
            if exits != {step}:
                raise ValueError(
                    f"{path}: not written, as thresholds that should have it leave at step {step} "
                    f"have it leave at {sorted(exits)}."
                )
            return {LOGITS: np.concatenate([one.logits for one in answers])}

        export = dataclasses.replace(
            reference, source=str(path), precision=precision, outputs=outputs
        )
        found.append(check_export(reference, export, images, precision.tolerance, path))
    return found
