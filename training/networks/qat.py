"""The networks of quantisation-aware training: they round where the int8 file will.

They begin with a trained float network, in deploy form: no BatchNorm, no drop_path, one head. With
distillation that head learns from labels and teacher alike.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

import levit_tf
from converters.deploy import class_count, deploy_graph
from converters.qat.qat_model import QuantizedModel
from converters.qat.qat_network import (
    fake_quantize,
    float_ranges,
    quantized_weights,
    ranges_of,
    set_ranges,
)
from converters.qat.qat_packages import tf_keras
from converters.qat.twin import set_graph_weights
from converters.tflite.calibration import CALIBRATION_IMAGES
from levit_common.shipped_names import KEYPOINTS
from levit_tf.keras_graph.introspection import classifier_of, variant_of
from levit_tf.layers import Classifier
from levit_tf.names import PREDICTIONS
from levit_tf.preprocessing import denormalize
from levit_tf.variants import get_variant
from training.config import Config
from training.data import Dataset
from training.networks.initial import (
    Source,
    check_fits,
    check_input_range,
    trained_network,
)
from training.networks.network import Networks
from training.teachers.teacher import Teacher


class Student(tf_keras.Model):
    """A fake-quantised network that takes and returns what the training loop gives and expects.

    Args:
      network: see `converters.qat.qat_network.fake_quantize`.
      distils: whether to return the logits as those of two heads, for labels and for a teacher.
    """

    def __init__(self, network: tf_keras.Model, distils: bool):
        super().__init__(name=network.name)
        self.network = network
        self._distils = distils
        self.built = True

    def call(self, images, training=None):
        """Normalised images (batch, height, width, 3) -> logits (batch, classes)."""
        pixels = denormalize(images)
        logits = self.network(pixels, training=training)
        return {"head": logits, "head_dist": logits} if self._distils else logits


def prepare(config: Config, source: Source, data: Dataset) -> Callable[[], Networks]:
    """Loads the float network of a run.

    Args:
      config: with `qat` and `init_from`.
      source: its initial weights.
      data: pictures of the network's input size and classes.

    Returns:
      What builds the networks, to be called in the scope of the strategy.

    Raises:
      ModelFileError: it is damaged.
      ValueError: it is not of a LeViT that the run can begin with.
    """
    trained = float_network(config, source, data)
    pictures = data.calibration_images(CALIBRATION_IMAGES)
    ranges = float_ranges(deploy_graph(trained), config.qat, pictures)
    distils = config.distillation != "none"

    def make() -> Networks:
        def student():
            network = fake_quantize(deploy_graph(trained), config.qat)
            set_ranges(network, ranges)
            return Student(network, distils)

        return Networks(
            student(),
            student() if config.ema_decay else None,
            beginning=f"fake-quantised for {config.qat}, weights from {config.init_from}",
            shipped=lambda learner: shipped(trained, config.qat, learner),
            teacher=_float_teacher(trained) if distils and config.teacher is None else None,
        )

    return make


def float_network(config: Config, source: Source, data: Dataset) -> keras.Model:
    """The trained network that a run begins with, fused.

    Raises:
      See `prepare`.
    """
    model = trained_network(source, takes_deploy_form=True)
    if not hasattr(model, "operations"):  # a Sequential, or of another making
        raise ValueError(f"init_from={config.init_from}: is no LeViT.")
    check_input_range(model, f"init_from={config.init_from}")
    classifier = classifier_of(model)
    if isinstance(classifier, Classifier):
        found = variant_of(model).name
        if found != get_variant(config.variant).name:
            raise ValueError(f"init_from={config.init_from}: a {found}; set variant={found}.")
        if classifier.heads == "both":
            model = levit_tf.with_heads(model, "average")
        model = levit_tf.fuse(model)
    if isinstance(model.output, dict) and KEYPOINTS in model.output:
        raise ValueError(
            f"init_from={config.init_from}: finds joints; --config=keypoints trains such a network "
            "for int8."
        )
    if isinstance(model.output, dict):
        raise ValueError(
            f"init_from={config.init_from}: fused with two heads, and the int8 file has one. Give "
            "the train form, or fuse levit_tf.with_heads(model, 'average')."
        )
    size, classes = deploy_graph(model).input.shape[1:3], class_count(model)
    check_fits(
        model,
        f"init_from={config.init_from}",
        data,
        size=size,
        classes=classes,
        advice="Quantisation-aware training begins with a network that was trained for them.",
    )
    return model


def shipped(source: keras.Model, target: str, student: Student) -> QuantizedModel:
    """The present weights and ranges of a student, outside of any strategy.

    Args:
      source: the float network, fused; it is not changed.
      target: one of `converters.choices.TARGETS`.
      student: the network.
    """
    model = keras.models.clone_model(source)
    set_graph_weights(model, quantized_weights(student.network))
    return QuantizedModel(model, target, ranges_of(student.network))


def _float_teacher(source: keras.Model) -> Teacher:
    """The float network as a teacher, with weights of its own."""
    logits = source.get_layer(PREDICTIONS).input
    network = keras.models.clone_model(keras.Model(source.input, logits))
    network.set_weights(source.get_weights())
    network.trainable = False
    return Teacher(
        "the float network",
        logits.shape[-1],
        network,
        lambda images: network(images, training=False),
    )
