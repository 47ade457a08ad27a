"""The networks of a classifier in steps, and how pictures leave or go on to the next step.

Two kinds of classifier have this interface: the exits inside one LeViT, where each step continues
from the feature map of the step before, and a cascade of several networks, where each step starts
from the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from levit_tf.dynamic.calibration import NEVER
from levit_tf.dynamic.confidence import confidence
from levit_tf.names import WHOLE, exit_features, exit_names

LOGITS, STATE = "logits", "state"  # names of the outputs of a step


@dataclasses.dataclass(frozen=True)
class Steps:
    """The networks of a classifier in steps.

    Attributes:
      networks: one network per step. The first takes normalised images. Each returns `LOGITS`
        (batch, classes), and all but the last also `STATE`, the input of the next one.
      names: readable names of the steps: the exits, or the networks of a cascade.
    """

    networks: tuple[keras.Model, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.networks)

    def all_logits(self, images: np.ndarray, batch: int = 32) -> list[np.ndarray]:
        """Returns the logits of every step for all images, without leaving early.

        Args:
          images: (n, height, width, channels), normalised.
          batch: batch size.

        Returns:
          Logits (n, classes) of each step.
        """
        found = [[] for _ in self.networks]
        for start in range(0, len(images), batch):
            state = images[start : start + batch]
            for network, rows in zip(self.networks, found, strict=True):
                outputs = network.predict_on_batch(state)
                rows.append(np.asarray(outputs[LOGITS]))
                state = outputs.get(STATE)
        return [np.concatenate(rows) for rows in found]

    def answer(
        self, images: np.ndarray, temperatures: Sequence[float], thresholds: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Classifies a batch: confident rows leave, and only the others go on to the next step.

        Args:
          images: (n, height, width, channels), normalised.
          temperatures: for each step except the last, the number its logits are divided by.
          thresholds: for each step except the last, the confidence from which on rows leave.

        Returns:
          Logits (n, classes), and the step that each row left at, (n,).
        """
        state, rows = images, np.arange(len(images))
        logits = steps = None
        settings = [*zip(temperatures, thresholds, strict=True), (1.0, 0.0)]
        for step, (network, (temperature, threshold)) in enumerate(
            zip(self.networks, settings, strict=True)
        ):
            outputs = network.predict_on_batch(state)
            found = np.asarray(outputs[LOGITS])
            if logits is None:
                logits, steps = np.empty_like(found), np.empty(len(images), np.int64)
            is_sure = confidence(found, temperature) >= threshold
            logits[rows[is_sure]], steps[rows[is_sure]] = found[is_sure], step
            rows = rows[~is_sure]
            if not len(rows):
                break
            state = np.asarray(outputs[STATE])[~is_sure]
        return logits, steps

    @property
    def never(self) -> tuple[float, ...]:
        """Returns thresholds with which no image leaves early."""
        return (NEVER,) * (len(self) - 1)


def steps_of_exits(model: keras.Model) -> Steps:
    """Splits a network with exits into its steps.

    Args:
      model: a result of `levit_tf.dynamic.exits.add_exits`, in train or deploy form.

    Raises:
      ValueError: the model has no exits.
    """
    outputs = model.output if isinstance(model.output, dict) else {}
    exits = exit_names(outputs)
    if not exits or WHOLE not in outputs:
        raise ValueError(
            f"Model {model.name!r} has no exits; levit_tf.dynamic.exits.add_exits adds them."
        )
    networks, begin = [], model.input
    for name in exits:
        features = exit_features(name)
        state = model.get_layer(features).output
        step = {LOGITS: outputs[name], STATE: state}
        networks.append(keras.Model(begin, step, name=f"{model.name}_to_{features}"))
        begin = state
    networks.append(keras.Model(begin, {LOGITS: outputs[WHOLE]}, name=f"{model.name}_rest"))
    return Steps(tuple(networks), (*exits, WHOLE))


def cascade(models: Sequence[keras.Model]) -> Steps:
    """Combines several networks, the fastest first; each of them takes the picture.

    Args:
      models: LeViTs with the same classes and input size that return logits.

    Raises:
      ValueError: there are fewer than two models, or their classes or input sizes differ.
    """
    if len(models) < 2:
        raise ValueError(f"A cascade has at least two networks. Received: {len(models)}")
    shapes = {(tuple(model.input_shape), tuple(model.output_shape)) for model in models}
    if len(shapes) != 1:
        raise ValueError(
            "The networks of a cascade take the same images and have the same classes. Received: "
            + "; ".join(f"{m.name} {m.input_shape} -> {m.output_shape}" for m in models)
        )
    networks = []
    for number, model in enumerate(models):
        images = keras.Input(model.input_shape[1:], name="images")
        outputs = {LOGITS: model(images)}
        if number + 1 < len(models):
            outputs[STATE] = keras.layers.Identity(name="images_for_the_next")(images)
        networks.append(keras.Model(images, outputs, name=f"{model.name}_{number}"))
    return Steps(tuple(networks), tuple(model.name for model in models))
