"""The networks of a run: the one that learns, and the one that is shipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras

import levit_tf
from converters.qat_model import QuantizedModel
from levit_tf.variants import get_variant
from levit_tf.weights import load_train_form, load_weights
from training.batch_norm import prepare_batch_norm
from training.config import Config
from training.teacher import Teacher

if TYPE_CHECKING:
    import tf_keras

    Network = keras.Model | tf_keras.Model


@dataclasses.dataclass(frozen=True)
class Networks:
    """What a run trains, built in the scope of its strategy.

    Attributes:
      student: normalised images -> logits, of both heads where there is a teacher, else of one.
      average: another of the same structure for the moving average; None without one.
      beginning: a text that says what the weights began with.
      shipped: makes a student the network that is used, outside of any strategy.
      teacher: None where there is none, or where the configuration names it.
    """

    student: Network
    average: Network | None
    beginning: str
    shipped: Callable[[Network], keras.Model | QuantizedModel]
    teacher: Teacher | None = None


def make_networks(config: Config, classes: int, replicas: int) -> Networks:
    """Builds the networks of a float run, in the scope of its strategy.

    Args:
      config: what to train.
      classes: number of classes.
      replicas: how many train together.

    Raises:
      ValueError: the initial weights do not fit.
      OSError: they cannot be read.
    """
    model = student(config, classes)
    average = student(config, classes) if config.ema_decay else None
    beginning = initialise(config, model)
    prepare_batch_norm(model, replicas)
    return Networks(
        model, average, beginning, shipped=lambda trained: shipped(config, trained, classes)
    )


def input_size(config: Config) -> tuple[int, int]:
    """(height, width) of a run's pictures, pixels."""
    return config.input_size or (get_variant(config.variant).input_size,) * 2


def student(config: Config, classes: int) -> keras.Model:
    """A network that returns logits: of both heads where there is a teacher, else of one."""
    heads = "single" if config.distillation == "none" else "both"
    return _build(config, classes, heads, classifier_activation=None)


def shipped(config: Config, trained: keras.Model, classes: int) -> keras.Model:
    """A trained student's weights in the network that is used: probabilities, heads averaged."""
    heads = "single" if config.distillation == "none" else "average"
    model = _build(config, classes, heads, classifier_activation="softmax")
    levit_tf.transfer_weights(trained, model)
    return model


def initialise(config: Config, model: keras.Model) -> str:
    """Gives a student the weights that `config.init_from` names.

    Returns:
      A text that says what was done with them.

    Raises:
      FileNotFoundError: there is no such file.
      ConnectionError: the released weights are neither cached nor reachable.
      ValueError: they do not fit; `model` is unchanged then.
    """
    source = config.init_from
    if source is None:
        return "random initial weights"
    variant = get_variant(config.variant)
    if source == "imagenet":
        report = levit_tf.transfer_weights(levit_tf.LeViT(variant, weights="imagenet"), model)
    elif source.endswith(".keras"):
        report = levit_tf.transfer_weights(load_train_form(source), model)
    else:
        report = load_weights(model, source, variant)
    return f"initial weights from {source}\n{report}"


def _build(
    config: Config, classes: int, heads: str, classifier_activation: str | None
) -> keras.Model:
    return levit_tf.LeViT(
        config.variant,
        input_shape=(*input_size(config), 3),
        classes=classes,
        heads=heads,
        drop_path_rate=config.drop_path,
        classifier_activation=classifier_activation,
    )
