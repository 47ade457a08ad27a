"""The networks of a run: the one in training, and the one that is shipped."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

import levit_tf
from converters.qat.qat_model import QuantizedModel
from levit_tf.layers import Classifier
from levit_tf.names import CLASSIFIER, PRE_LOGITS
from levit_tf.variants import get_variant
from levit_tf.weights.loading import load_weights
from levit_tf.weights.pytorch_names import HEAD_PREFIXES
from training.config import Config
from training.config_checks import AUTO, PACKAGED, RELEASED
from training.data import Dataset
from training.networks.initial import Source, is_of_other_classes, trained_network
from training.optim.batch_norm import prepare_batch_norm
from training.plan import Facts
from training.teachers.teacher import Teacher

if TYPE_CHECKING:
    import tf_keras

    Network = keras.Model | tf_keras.Model


# Number of pictures examined to decide whether the pictures have colours, and the limit for the
# mean difference between their channels, 0..255.
LOOKED_AT, GREY = 16, 2.0
TEACHER_HEAD = "teacher_head"


@dataclasses.dataclass(frozen=True)
class Networks:
    """The networks of a run, built in the scope of its strategy.

    Attributes:
      student: from normalised images to logits, of both heads if there is a teacher, else of one.
      average: another network of the same structure for the moving average; None without an
        average.
      beginning: a text that describes the initial weights.
      shipped: makes the network for use from a student, outside of any strategy: the same network
          each time, with new weights.
      teacher: the teacher; None if there is none, or if the configuration names it.
      is_head_fresh: whether the classification head, or that of an exit, was initialised at random.
    """

    student: Network
    average: Network | None
    beginning: str
    shipped: Callable[[Network], keras.Model | QuantizedModel]
    teacher: Teacher | None = None
    is_head_fresh: bool = False


def make_networks(
    config: Config,
    source: Source,
    class_names: Sequence[str],
    replicas: int,
    taught: int | None = None,
) -> Networks:
    """Builds the networks of a float run, in the scope of its strategy.

    Args:
      config: the configuration.
      source: its initial weights.
      class_names: names of the classes.
      replicas: number of replicas.
      taught: number of classes that a teacher's head learns.

    Raises:
      ValueError: the initial weights do not fit.
      OSError: the initial weights cannot be read.
    """
    classes = len(class_names)
    model = student(config, classes, taught)
    average = student(config, classes, taught) if config.ema_decay else None
    in_use = functools.cache(lambda: _in_use(config, classes))

    def shipped(trained: keras.Model) -> keras.Model:
        levit_tf.transfer_weights(without_teacher_head(trained), in_use())
        return in_use()

    beginning, is_head_fresh = initialise(source, without_teacher_head(model), class_names)
    prepare_batch_norm(model, replicas, config.batch_norm_momentum)
    return Networks(
        model,
        average,
        beginning,
        shipped,
        is_head_fresh=is_head_fresh,
    )


def input_size(config: Config) -> tuple[int, int]:
    """Returns (height, width) of a run's pictures, pixels."""
    return config.input_size or (get_variant(config.variant).input_size,) * 2


def student(config: Config, classes: int, taught: int | None = None) -> keras.Model:
    """Builds a network that returns logits, of both heads if there is a teacher, else of one.

    Args:
      config: the configuration.
      classes: number of classes.
      taught: number of classes of the second head, with `teacher_head`.
    """
    has_one = config.distillation == "none" or config.teacher_head
    model = _build(config, classes, "single" if has_one else "both", classifier_activation=None)
    if not config.teacher_head:
        return model
    pooled = model.get_layer(PRE_LOGITS).output  # (batch, channels)
    learner = Classifier(taught, "single", name=TEACHER_HEAD)(pooled)
    return keras.Model(model.input, {"head": model.output, "head_dist": learner}, name=model.name)


def without_teacher_head(model: keras.Model) -> keras.Model:
    """Returns a `student` without the head that learns a teacher's classes; it shares the layers.

    Any other network is returned as it is.
    """
    if TEACHER_HEAD not in {layer.name for layer in model.layers}:
        return model
    return keras.Model(model.input, model.output["head"], name=model.name)


def _in_use(config: Config, classes: int) -> keras.Model:
    """Builds the network for use, with new weights: it returns probabilities, heads averaged."""
    heads = "single" if config.distillation == "none" or config.teacher_head else "average"
    return _build(config, classes, heads, classifier_activation="softmax")


def copy_weights(source: keras.Model, target: keras.Model) -> keras.Model:
    """Copies the weights, by their paths, to a network of the same layers; returns this network."""
    values = {weight.path: weight for weight in source.weights}
    for weight in target.weights:
        weight.assign(keras.ops.convert_to_numpy(values[weight.path]))
    return target


def facts(config: Config, source: Source, data: Dataset, replicas: int) -> Facts:
    """Collects the facts for `training.plan`, before the networks are built."""
    is_trained, names = source.path is not None, data.class_names
    return Facts(
        pictures=data.num_train,
        input_size=data.input_size,
        is_trained=is_trained,
        is_head_fresh=not is_trained or is_of_other_classes(source, names),
        width=get_variant(config.variant).embed_dim[-1],
        is_grey=config.flip is AUTO and _are_grey(data.calibration_images(LOOKED_AT)),
        multiple=replicas * config.accumulate,
    )


def _are_grey(images: np.ndarray) -> bool:
    """Whether pictures (n, height, width, 3), RGB 0..255, are grey except for JPEG artefacts."""
    values = images.astype(np.float32)
    return float((values.max(axis=-1) - values.min(axis=-1)).mean()) < GREY


def initialise(source: Source, model: keras.Model, class_names: Sequence[str]) -> tuple[str, bool]:
    """Sets a student's weights to those of a source.

    A head with the same number of classes, but of classes known to be different, is not copied: the
    network would have to unlearn it first.

    Args:
      source: the initial weights.
      model: a result of `student`; its weights are changed in place.
      class_names: names of the classes.

    Returns:
      A text that describes the initial weights, and whether the classification head keeps its
      random weights.

    Raises:
      ValueError: the weights do not fit; `model` is unchanged then.
      OSError: see `training.networks.initial.trained_network`.
    """
    path = source.path
    if path is None:
        return "random initial weights", True
    head = model.get_layer(CLASSIFIER).weights
    fresh = [keras.ops.copy(weight) for weight in head]
    if path in (RELEASED, PACKAGED) or source.on_hub or path.endswith(".keras"):
        trained = trained_network(source)
        if source.on_hub:  # with the variant and the codebase
            path = levit_tf.model_properties(trained).origin
        report = levit_tf.transfer_weights(trained, model)
    else:
        report = load_weights(model, path, get_variant(source.variant), blank=levit_tf.LeViT)
    text = f"initial weights from {path}\n{report}"
    if any(name.startswith(HEAD_PREFIXES[0]) for name in report.initialised):
        return text, True
    if not is_of_other_classes(source, class_names):
        return text, False
    for weight, value in zip(head, fresh, strict=True):
        weight.assign(value)
    return f"{text}\nbut for the head, which is of other classes there: freshly initialised", True


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
