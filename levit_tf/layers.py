"""The layers of LeViT's train form, except attention, which is in `levit_tf.attention`.

All of them take feature maps of shape (batch, height, width, channels). Sub-layers have timm's
names, so that the path of a variable resembles its key in a checkpoint:
`stages_1_blocks_0_attn/qkv/linear/kernel`.

Source: levit.py of facebookresearch/LeViT; paper, sections 4.1 to 4.3.
"""

from __future__ import annotations

import keras
from keras import ops

from levit_tf.variants import check_sides

BATCH_NORM_EPSILON = 1e-5
# Keras' momentum is the weight of the old statistics; PyTorch's 0.1 is that of the new ones.
BATCH_NORM_MOMENTUM = 0.9

register = keras.saving.register_keras_serializable(package="levit_tf")


def _torch_default_initializer() -> keras.initializers.Initializer:
    """Returns PyTorch's default for Linear and Conv2d: uniform within +-1 / sqrt(fan_in)."""
    return keras.initializers.VarianceScaling(scale=1 / 3, mode="fan_in", distribution="uniform")


def keep_frozen(layer: keras.layers.Layer) -> None:
    """Freezes the sub-layers of a frozen layer; to be called at the end of `build`.

    Keras saves whether a layer is frozen, but does not pass this on to its sub-layers when it
    creates the layer again: a loaded or cloned network would train them.
    """
    if not layer.trainable:
        # Setting `trainable` reaches the sub-layers; on TensorFlow only if the value changes.
        layer.trainable = True
        layer.trainable = False


def _batch_norm(dtype, gamma: float = 1.0) -> keras.layers.BatchNormalization:
    return keras.layers.BatchNormalization(
        dtype=dtype,
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=BATCH_NORM_EPSILON,
        gamma_initializer=keras.initializers.Constant(gamma),
        name="bn",
    )


@register
class DivisibleSides(keras.layers.Layer):
    """Passes on images whose sides the stem can divide, and refuses all others.

    It is the first layer of networks for every size. If the size is known, the error says which
    sizes would fit. A graph knows the size only when it runs, possibly without TensorFlow: there a
    reshape fails that only fits valid sides, in a layer whose name states the rule. TensorFlow
    graphs also have an assertion before it with a readable message.

    Args:
      stride: number of pixels that each side must be a multiple of.

    Input and output shape: (batch, height, width, channels).

    Raises:
      ValueError: a side is not a positive multiple of the stride.
    """

    def __init__(self, stride: int, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, x):
        check_sides(f"{self.name}: the images'", x.shape[1:3], self.stride)
        if None not in x.shape[1:3]:
            return x
        batch, *sides, channels = ops.shape(x)
        if keras.backend.backend() == "tensorflow" and not isinstance(x, keras.KerasTensor):
            import tensorflow as tf

            fits = tf.reduce_all([side % self.stride == 0 for side in sides])
            text = (
                f"{self.name}: height and width of the images must be multiples of {self.stride} "
                "pixels. Received the shape"
            )
            with tf.control_dependencies([tf.debugging.Assert(fits, [text, tf.shape(x)])]):
                x = tf.identity(x)
        # The shape includes the batch, so that no other sides with the same product fit.
        fitting = (side // self.stride * self.stride for side in sides)
        return ops.reshape(x, (batch, *fitting, channels))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}


@register
class ConvBN(keras.layers.Layer):
    """3x3 convolution of stride 2 without bias, then BatchNorm: one step of the stem.

    The input is first padded with one pixel of zeros on every side. `padding="same"` would be
    wrong: at stride 2 and an even size, TensorFlow pads only at the bottom and the right, but the
    reference pads all four sides.

    Args:
      filters: output channels.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, ceil(height / 2), ceil(width / 2), filters).
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        dtype = self.dtype_policy
        self.pad = keras.layers.ZeroPadding2D(1, data_format="channels_last", dtype=dtype)
        self.linear = keras.layers.Conv2D(
            filters,
            kernel_size=3,
            strides=2,
            use_bias=False,
            data_format="channels_last",
            kernel_initializer=_torch_default_initializer(),
            dtype=dtype,
            name="linear",
        )
        self.bn = _batch_norm(dtype)

    def build(self, input_shape):
        self.pad.build(input_shape)
        padded = self.pad.compute_output_shape(input_shape)
        self.linear.build(padded)
        self.bn.build(self.linear.compute_output_shape(padded))
        keep_frozen(self)

    def call(self, x, training=None):
        return self.bn(self.linear(self.pad(x)), training=training)

    def compute_output_shape(self, input_shape):
        return self.linear.compute_output_shape(self.pad.compute_output_shape(input_shape))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@register
class DenseBN(keras.layers.Layer):
    """Dense layer over the channels without bias, then BatchNorm.

    Args:
      units: output channels.
      gamma: initial BatchNorm scale; 0 on the last layer of a residual branch, so that the branch
        begins as the identity.

    Input shape: (batch, ..., channels). Output shape: (batch, ..., units).
    """

    def __init__(self, units: int, gamma: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.gamma = gamma
        self.linear = keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=_torch_default_initializer(),
            dtype=self.dtype_policy,
            name="linear",
        )
        self.bn = _batch_norm(self.dtype_policy, gamma)

    def build(self, input_shape):
        self.linear.build(input_shape)
        self.bn.build(self.compute_output_shape(input_shape))
        keep_frozen(self)

    def call(self, x, training=None):
        return self.bn(self.linear(x), training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "gamma": self.gamma}


@register
class MLP(keras.layers.Layer):
    """Dense+BN to `hidden_dim`, activation, Dense+BN to `output_dim`: the second half of a block.

    It is always a residual branch, so the scale of the last BatchNorm is initialised to 0.

    Args:
      hidden_dim: channels between the two layers.
      output_dim: channels of the output.
      activation: Keras name of the activation.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, height, width, output_dim).
    """

    def __init__(self, hidden_dim: int, output_dim: int, activation: str = "hard_silu", **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.output_dim = output_dim
        self.activation = keras.activations.get(activation)
        self.ln1 = DenseBN(hidden_dim, dtype=self.dtype_policy, name="ln1")
        self.ln2 = DenseBN(output_dim, gamma=0.0, dtype=self.dtype_policy, name="ln2")

    def build(self, input_shape):
        self.ln1.build(input_shape)
        self.ln2.build(self.ln1.compute_output_shape(input_shape))
        keep_frozen(self)

    def call(self, x, training=None):
        return self.ln2(self.activation(self.ln1(x, training=training)), training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.output_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "output_dim": self.output_dim,
            "activation": keras.activations.serialize(self.activation),
        }


@register
class DropPath(keras.layers.Layer):
    """Stochastic depth: in training, drops a sample's residual branch with probability `rate`.

    The branches that are kept are scaled by 1 / (1 - rate) (levit.py, `Residual`).

    Args:
      rate: probability in [0, 1).
      seed: integer or `keras.random.SeedGenerator`.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x, training=None):
        if not training:
            return x
        # One random number per sample, broadcast over its map: (batch, 1, 1, 1).
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        # float32, because half precision would round the rate itself.
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        kept = ops.cast(draw >= self.rate, "float32") / (1 - self.rate)
        return x * ops.cast(kept, x.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@register
class BNDense(keras.layers.Layer):
    """BatchNorm, then a dense layer with bias: one classification head.

    Args:
      units: number of classes.

    Input shape: (batch, channels). Output shape: (batch, units), logits.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.bn = _batch_norm(self.dtype_policy)
        self.linear = keras.layers.Dense(
            units,
            # The reference truncates at +-2, which is a hundred standard deviations: effectively a
            # plain normal. Keras' TruncatedNormal cuts at two, which gives a deviation of 0.0176.
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="linear",
        )

    def build(self, input_shape):
        self.bn.build(input_shape)
        self.linear.build(input_shape)
        keep_frozen(self)

    def call(self, x, training=None):
        return self.linear(self.bn(x, training=training))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class Classifier(keras.layers.Layer):
    """The class head and the distillation head (paper, section 4.2).

    Args:
      classes: number of classes.
      heads: "average" returns the mean of both heads' logits, as the paper does at inference;
        "both" returns {"head": logits, "head_dist": logits} for distillation; "single" has no
        distillation head and returns the class head's logits.

    Input shape: (batch, channels). Output shape: (batch, classes), or a dictionary of two of those.
    """

    def __init__(self, classes: int, heads: str = "average", **kwargs):
        super().__init__(**kwargs)
        classes = int(classes)  # numpy's integers cannot be saved
        self.classes = classes
        self.heads = heads
        dtype = self.dtype_policy
        self.head = BNDense(classes, dtype=dtype, name="head")
        self.head_dist = None
        if heads != "single":
            self.head_dist = BNDense(classes, dtype=dtype, name="head_dist")

    def build(self, input_shape):
        self.head.build(input_shape)
        if self.head_dist is not None:
            self.head_dist.build(input_shape)
        keep_frozen(self)

    def call(self, x, training=None):
        logits = self.head(x, training=training)
        if self.heads == "single":
            return logits
        distilled = self.head_dist(x, training=training)
        if self.heads == "both":
            return {"head": logits, "head_dist": distilled}
        # The logits are averaged, never the probabilities (levit.py, LeViT.forward).
        return (logits + distilled) / 2

    def compute_output_shape(self, input_shape):
        shape = (*input_shape[:-1], self.classes)
        return {"head": shape, "head_dist": shape} if self.heads == "both" else shape

    def get_config(self):
        return {**super().get_config(), "classes": self.classes, "heads": self.heads}
