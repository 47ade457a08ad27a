"""Compares every path of a dynamic file with the models that it was made from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from converters.verification.export_check import check_export
from converters.verification.verify_artefact import Artefact, Precision
from converters.verification.verify_keras import model_artefact
from levit_common.shipped_names import LOGITS
from levit_tf.dynamic.calibration import NEVER
from levit_tf.keras_graph.endings import have_exits
from levit_tf.names import WHOLE, exit_names


class Answer(NamedTuple):
    """Outputs of a dynamic file for a batch.

    Attributes:
      logits: (batch, classes), logits of the step at which each picture left.
      probabilities: (batch, classes), with the temperature of that step.
      exits: (batch,), number of that step.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    exits: np.ndarray


# From float32 pixels (1, height, width, channels) and thresholds (steps - 1,) to the outputs.
AnswerOne = Callable[[np.ndarray, np.ndarray], Answer]


def references(models: Sequence[keras.Model], input_range: str | None = None) -> list[Artefact]:
    """Returns the reference of each step: the given models, called as their user would."""
    if len(models) == 1 and have_exits(models[0].output):
        (model,) = models
        names = [*exit_names(model.output), WHOLE]
        models = [keras.Model(model.input, model.output[name], name=model.name) for name in names]
    return [
        model_artefact(model, f"Model {model.name!r}", input_range, few=True) for model in models
    ]


def forcing(step: int, steps: int) -> np.ndarray:
    """Returns thresholds, (steps - 1,), with which every picture leaves at this step."""
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
    """Refuses a file if one of its paths computes something else than the model.

    Args:
      expected: see `references`.
      answer: function that runs the file.
      precision: precision of the file's arithmetic.
      images: plain pixels (n, height, width, channels).
      path: final path of the file, for the error message.

    Returns:
      For each path the largest difference of the logits, relative to the largest logit.

    Raises:
      ValueError: a path leaves at another step, or its logits differ too much.
    """
    found = []
    for step, reference in enumerate(expected):
        thresholds = forcing(step, len(expected))

        def outputs(batch, thresholds=thresholds, step=step):
            answers = [answer(image[None], thresholds) for image in batch]
            exits = {int(one.exits[0]) for one in answers}
            if exits != {step}:
                raise ValueError(
                    f"{path}: not written: with the thresholds for leaving at step {step}, "
                    f"pictures leave at {sorted(exits)}."
                )
            return {LOGITS: np.concatenate([one.logits for one in answers])}

        export = dataclasses.replace(
            reference, source=str(path), precision=precision, outputs=outputs
        )
        found.append(check_export(reference, export, images, precision.tolerance, path))
    return found
