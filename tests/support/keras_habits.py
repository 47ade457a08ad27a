"""Models as users of Keras build them around a LeViT, each with what is said of its input.

Nearly every one is of 32x32 pixels, with random, non-trivial weights.
"""

from __future__ import annotations

import keras
import numpy as np

import levit_tf
from tests.support.randomize import randomize_keras

SIZE = (32, 32, 3)
NAMES = ["ant", "bee hive", "Käfer"]
layers = keras.layers


def levit(**options) -> keras.Model:
    """A LeViTTiny with random weights and statistics."""
    model = levit_tf.LeViT("LeViTTiny", **options)
    randomize_keras(model)
    return model


def named() -> keras.Model:
    """A classifier that knows its classes."""
    return levit_tf.with_properties(levit(classes=3), class_names=NAMES)


def preprocessing_inside() -> keras.Model:
    """`preprocess_input` in front, by `input_tensor`."""
    pixels = keras.Input(SIZE)
    model = levit_tf.LeViT(
        "LeViTTiny", input_tensor=levit_tf.preprocess_input(pixels), classes=3, heads="single"
    )
    levit_tf.transfer_weights(levit(classes=3, heads="single"), model)
    return model


def normalization_in_front() -> keras.Model:
    """A `Normalization` layer in front, of pixels in 0..1."""
    images = keras.Input(SIZE)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = layers.Normalization(mean=mean.tolist(), variance=(std**2).tolist())(images)
    return keras.Model(images, levit(classes=3)(x))


def adapted_normalization() -> keras.Model:
    """A `Normalization` layer that was adapted to pictures."""
    pixels = keras.Input(SIZE)
    return keras.Model(pixels, levit(classes=3)(_adapted()(pixels)))


def resizing_in_front() -> keras.Model:
    """The same behind a layer that is not about the values."""
    pixels = keras.Input((48, 40, 3))
    x = layers.Resizing(*SIZE[:2])(pixels)
    return keras.Model(pixels, levit(classes=3)(_adapted()(x)))


def _adapted() -> keras.layers.Normalization:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).uniform(0, 255, (8, *SIZE)))
    return normalization


def dense_behind() -> keras.Model:
    """Another classifier on top of the three probabilities."""
    model = named()
    return keras.Model(model.input, layers.Dense(2, "softmax")(model.output))


def sequential() -> keras.Model:
    """A Sequential with a backbone in it."""
    backbone = levit(include_top=False, pooling="avg")
    parts = [layers.Rescaling(1 / 255), backbone, layers.Dropout(0.2), layers.Dense(4, "softmax")]
    return keras.Sequential([keras.Input(SIZE), *parts])


def frozen_backbone() -> keras.Model:
    """The transfer learning of Keras' guides: augmentation, a frozen backbone, a new head."""
    pixels = keras.Input(SIZE)
    x = layers.RandomFlip()(pixels)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = levit(include_top=False)(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(16, "relu")(layers.BatchNormalization()(x))
    return keras.Model(pixels, layers.Dense(5)(x))


def flat_head() -> keras.Model:
    """A dense layer on the outputs of a backbone."""
    backbone = levit(include_top=False, pooling="avg")
    return keras.Model(backbone.input, layers.Dense(3, "softmax")(backbone.output))


def yes_or_no() -> keras.Model:
    """One output, of a sigmoid."""
    backbone = levit(include_top=False, pooling="max")
    return keras.Model(backbone.input, layers.Dense(1, "sigmoid")(backbone.output))


def several_labels() -> keras.Model:
    """Sigmoids: a picture may show several things."""
    backbone = levit(include_top=False, pooling="avg")
    return keras.Model(backbone.input, layers.Dense(4, "sigmoid")(backbone.output))


def two_outputs() -> keras.Model:
    """Probabilities and an embedding, in a dictionary."""
    model = named()
    embedding = model.get_layer("pre_logits").output
    return keras.Model(model.input, {"scores": model.output, "embedding": embedding})


def list_of_outputs() -> keras.Model:
    """The same in a list."""
    model = named()
    return keras.Model(model.input, [model.output, model.get_layer("pre_logits").output])


def embedding() -> keras.Model:
    """A backbone."""
    return levit(include_top=False, pooling="avg")


def ensemble() -> keras.Model:
    """The mean of two networks whose layers have the same names."""
    pixels = keras.Input(SIZE)
    x = levit_tf.preprocess_input(pixels)
    networks = [levit(classes=3, name="one"), levit(classes=3, name="other")]
    return keras.Model(pixels, layers.Average()([network(x) for network in networks]))


def convolution_in_front() -> keras.Model:
    """A convolution of the user's own, which pads on two sides only."""
    pixels = keras.Input((64, 64, 3))
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(3, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(pixels, levit(classes=3)(x))


def hard_swish_behind() -> keras.Model:
    """Layers that look like LeViT's, connected in other ways."""
    backbone = levit(include_top=False)
    x = layers.Conv2D(8, 1, padding="same")(backbone.output)
    y = layers.Activation("hard_silu")(x)
    z = layers.Activation("hard_silu")(layers.Dense(8)(x))
    x = layers.Flatten()(layers.Add()([x, y, z]))
    return keras.Model(backbone.input, layers.Dense(3, "softmax")(x))


def grey() -> keras.Model:
    """One channel."""
    return levit(classes=3, input_shape=(32, 32, 1))


def six_channels() -> keras.Model:
    """Six channels, of values 0..1."""
    return levit_tf.with_properties(levit(classes=3, input_shape=(32, 32, 6)), input_range="unit")


def two_heads() -> keras.Model:
    """The train form of distillation."""
    return levit(classes=3, heads="both")


def fused() -> keras.Model:
    """The deploy form."""
    return levit_tf.fuse(named())


def temperature() -> keras.Model:
    """Logits that are scaled before the softmax."""
    model = levit(classes=3, classifier_activation=None)
    return keras.Model(model.input, layers.Softmax()(layers.Rescaling(0.5)(model.output)))


def linear_behind() -> keras.Model:
    """The usual ending of mixed precision: a layer that only turns probabilities into float32."""
    model = flat_head()
    return keras.Model(model.input, layers.Activation("linear", dtype="float32")(model.output))


def lists_of_one() -> keras.Model:
    """An input and an output in lists, and the softmax as an operation."""
    model = levit(classes=3, classifier_activation=None)
    return keras.Model([model.input], [keras.ops.softmax(model.output)])


def operation_behind() -> keras.Model:
    """Sigmoids by the function of that name."""
    model = levit(classes=3, classifier_activation=None)
    return keras.Model(model.input, keras.activations.sigmoid(model.output))


def arithmetic_in_front() -> keras.Model:
    """Scaling by operators, the constants first."""
    pixels = keras.Input(SIZE)
    return keras.Model(pixels, levit(classes=3)(1 - (1 / 127.5) * pixels))


def bytes_in() -> keras.Model:
    """An input of bytes."""
    pixels = keras.Input((64, 64, 3), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    return keras.Model(pixels, levit(classes=3, input_shape=(64, 64, 3))(x))


# Name -> (what builds it, the range of its input, the names of its outputs where it is shipped).
CLASSIFIER = {"logits", "probabilities"}
HABITS = {
    "preprocessing_inside": (preprocessing_inside, "pixels", CLASSIFIER),
    "normalization_in_front": (normalization_in_front, "unit", CLASSIFIER),
    "adapted_normalization": (adapted_normalization, "pixels", CLASSIFIER),
    "resizing_in_front": (resizing_in_front, "pixels", CLASSIFIER),
    "dense_behind": (dense_behind, "normalized", CLASSIFIER),
    "sequential": (sequential, "pixels", CLASSIFIER),
    "frozen_backbone": (frozen_backbone, "pixels", CLASSIFIER),
    "flat_head": (flat_head, "normalized", CLASSIFIER),
    "yes_or_no": (yes_or_no, "normalized", CLASSIFIER),
    "several_labels": (several_labels, "normalized", CLASSIFIER),
    "two_outputs": (two_outputs, "normalized", {"scores", "embedding"}),
    "list_of_outputs": (list_of_outputs, "normalized", {"predictions", "pre_logits"}),
    "embedding": (embedding, "normalized", {"pre_logits"}),
    "ensemble": (ensemble, "pixels", {"probabilities"}),
    "convolution_in_front": (convolution_in_front, "pixels", CLASSIFIER),
    "hard_swish_behind": (hard_swish_behind, "normalized", CLASSIFIER),
    "grey": (grey, "normalized", CLASSIFIER),
    "six_channels": (six_channels, "unit", CLASSIFIER),
    "two_heads": (two_heads, "normalized", CLASSIFIER),
    "fused": (fused, "normalized", CLASSIFIER),
    "temperature": (temperature, "normalized", CLASSIFIER),
    "linear_behind": (linear_behind, "normalized", CLASSIFIER),
    "lists_of_one": (lists_of_one, "normalized", CLASSIFIER),
    "operation_behind": (operation_behind, "normalized", CLASSIFIER),
    "arithmetic_in_front": (arithmetic_in_front, "pixels", CLASSIFIER),
    "bytes_in": (bytes_in, "pixels", CLASSIFIER),
}
# Those that end in logits; the other classifiers end in probabilities.
LOGITS = {"frozen_backbone", "two_heads"}
# The activation of the others' logits is a softmax.
SIGMOIDS = {"yes_or_no", "several_labels", "operation_behind"}


def fed(pixels: np.ndarray, input_range: str) -> np.ndarray:
    """What a user feeds: pixels (n, height, width, channels), 0..255, as the range says.

    Written out here, so that what is tested is not tested with itself.
    """
    channels = pixels.shape[-1]
    match input_range:
        case "pixels":
            return pixels
        case "unit":
            return pixels / 255
        case "normalized":
            mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
            if channels == 1:
                mean, std = mean.mean(), std.mean()
            return (pixels / 255 - mean) / std
    raise ValueError(input_range)


def answers(model: keras.Model, pixels: np.ndarray, input_range: str) -> list[np.ndarray]:
    """What the model says, called as its user calls it."""
    x = keras.ops.convert_to_tensor(fed(pixels.astype(np.float64), input_range), "float32")
    return [np.asarray(y) for y in keras.tree.flatten(model(x, training=False))]


def pixels_for(model: keras.Model, count: int = 3) -> np.ndarray:
    """Blurred noise (count, height, width, channels), float32, whole numbers 0..255."""
    shape = model.inputs[0].shape[1:]
    rng = np.random.default_rng(7)
    coarse = rng.uniform(0, 255, (count, shape[0] // 8, shape[1] // 8, shape[2]))
    smooth = coarse.repeat(8, axis=1).repeat(8, axis=2)
    return (smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).round().astype(np.float32)
