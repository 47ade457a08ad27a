"""Networks with published ImageNet accuracies that LeViT is measured against, random weights.

Top-1 on ImageNet-1k is the publications', at their own input sizes; nobody measured it here:

- EfficientNet: Tan and Le, arXiv 1905.11946, Table 2;
- MobileNetV2: Sandler et al., arXiv 1801.04381, Table 4;
- MobileNetV3-Large: Howard et al., arXiv 1905.02244, Table 3;
- DeiT, without distillation: Touvron et al., arXiv 2012.12877, Table 5;
- LeViT: `levit_tf.variants`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.networks.ours import VARIANTS, levit
from levit_tf.variants import get_variant


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of a family.

    Attributes:
      family: for the picture.
      name: as its authors spell it.
      top1: published, percent.
      size: side of its input, pixels.
      build: makes it with random weights: a Keras or tf_keras model.
      legacy_keras: whether it is a tf_keras model, which an environment variable has to allow.
    """

    family: str
    name: str
    top1: float
    size: int
    build: Callable[[], object]
    legacy_keras: bool = False


def networks() -> dict[str, Network]:
    """All of them by name, each family from small to large."""
    found = [
        Network("LeViT", name, get_variant(name).published.top1, 224, partial(levit, name))
        for name in VARIANTS
    ]
    efficient = [(77.1, 224), (79.1, 240), (80.1, 260), (81.6, 300), (82.9, 380)]
    for number, (top1, size) in enumerate(efficient):
        name = f"EfficientNetB{number}"
        found.append(Network("EfficientNet", name, top1, size, _application(name, size)))
    mobile = [
        ("MobileNetV2", "MobileNetV2", 72.0, _application("MobileNetV2", 224)),
        ("MobileNetV2", "MobileNetV2-1.4", 74.7, _application("MobileNetV2", 224, alpha=1.4)),
        ("MobileNetV3", "MobileNetV3Large", 75.2, _application("MobileNetV3Large", 224)),
    ]
    found += [Network(family, name, top1, 224, build) for family, name, top1, build in mobile]
    found += [
        Network("DeiT", "DeiT-Ti", 72.2, 224, _deit(192, 3), legacy_keras=True),
        Network("DeiT", "DeiT-S", 79.9, 224, _deit(384, 6), legacy_keras=True),
    ]
    return {network.name: network for network in sorted(found, key=lambda n: (n.family, n.top1))}


def write_files(
    model, folder: Path, files: Iterable[str], images: np.ndarray | None = None
) -> None:
    """Writes files of a network as TensorFlow's own tools make them.

    Args:
      model: a Keras or tf_keras model.
      folder: that they go to.
      files: fp32.tflite; dynamic.tflite, with int8 weights; int8.tflite, with int8 activations,
        too; all of them for one picture. Any other name is a SavedModel for any batch size.
      images: that int8 is calibrated with, (n, height, width, 3); 16 random ones by default.
    """
    import tensorflow as tf

    if images is None:
        images = np.random.default_rng(0).uniform(0, 255, (16, *model.input_shape[1:]))
    for path in (folder / file for file in files):
        if path.suffix != ".tflite":
            _write_saved_model(model, path)
            continue
        converter = tf.lite.TFLiteConverter.from_concrete_functions([_frozen(model, 1)], model)
        if path.stem != "fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if path.stem == "int8":
            converter.representative_dataset = lambda: (
                [one[None].astype(np.float32)] for one in images
            )
        path.write_bytes(converter.convert())


def interpolated(points: list[tuple[float, float]], top1: float) -> float | None:
    """Time at an accuracy: linear in the logarithm of time between the two nearest members.

    Args:
      points: (top-1, milliseconds) of a family.
      top1: the accuracy.

    Returns:
      Milliseconds; None where the family does not reach that accuracy, or begins above it.
    """
    points = sorted(points)
    if not points or not points[0][0] <= top1 <= points[-1][0]:
        return None
    accuracies, ms = zip(*points, strict=True)
    return float(np.exp(np.interp(top1, accuracies, np.log(ms))))


def _write_saved_model(model, path: Path) -> None:
    """The network as a SavedModel whose weights are constants."""
    import tensorflow as tf

    frozen = _frozen(model, None)
    serve = tf.function(
        lambda images: {"logits": frozen(images)[0]},
        input_signature=[tf.TensorSpec(frozen.inputs[0].shape, tf.float32, name="images")],
    )
    # Keras' swish has a gradient of its own, which cannot be saved once weights are constants.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    signatures = {"serving_default": serve}
    tf.saved_model.save(tf.Module(), str(path), signatures=signatures, options=options)


def _frozen(model, batch: int | None):
    """The function of the network in which its weights are constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    shape = [batch, *model.input_shape[1:]]
    function = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec(shape, tf.float32, name="images")],
    )
    return convert_variables_to_constants_v2(function.get_concrete_function())


def _application(name: str, size: int, **options):
    def build():
        import keras

        shape = (size, size, 3)
        return getattr(keras.applications, name)(
            weights=None, input_shape=shape, classifier_activation=None, **options
        )

    return build


def _deit(channels: int, heads: int):
    def build():
        from keras_cv_attention_models import beit

        return beit.ViT(
            embed_dim=channels,
            num_heads=heads,
            depth=12,
            patch_size=16,
            input_shape=(224, 224, 3),
            num_classes=1000,
            classifier_activation=None,
            pretrained=None,
        )

    return build
