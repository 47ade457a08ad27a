"""The layers of LeViT's train form, in the order in which an image meets them.

All of them work on feature maps of shape (batch, height, width, channels); attention flattens the
map to tokens inside. Sub-layers carry timm's names, so that a variable's path reads like its key in
a checkpoint: `stages_1_blocks_0_attn/qkv/linear/kernel`.

Source: levit.py of facebookresearch/LeViT; paper, sections 4.1 to 4.3.
"""

from __future__ import annotations

import keras
from keras import ops

from levit_tf.attention_bias import attention_bias_index

BATCH_NORM_EPSILON = 1e-5
# Keras weighs the old statistics with this; PyTorch's "momentum" of 0.1 weighs the new ones.
BATCH_NORM_MOMENTUM = 0.9

HEADS = ("average", "both", "single")

_register = keras.saving.register_keras_serializable(package="levit_tf")


def _torch_default_initializer() -> keras.initializers.Initializer:
    """PyTorch's default for Linear and Conv2d: uniform within 1 / sqrt(fan_in)."""
    return keras.initializers.VarianceScaling(scale=1 / 3, mode="fan_in", distribution="uniform")


def _batch_norm(dtype, gamma: float = 1.0) -> keras.layers.BatchNormalization:
    return keras.layers.BatchNormalization(
        dtype=dtype,
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=BATCH_NORM_EPSILON,
        gamma_initializer=keras.initializers.Constant(gamma),
        name="bn",
    )


@_register
class ConvBN(keras.layers.Layer):
    """3x3 convolution of stride 2 without bias, then BatchNorm: one step of the stem.

    One pixel of zeros is put on every side first. `padding="same"` would not do: at stride 2 and an
    even size TensorFlow pads only below and to the right, the reference on all four sides.

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

    def call(self, x, training=None):
        return self.bn(self.linear(self.pad(x)), training=training)

    def compute_output_shape(self, input_shape):
        return self.linear.compute_output_shape(self.pad.compute_output_shape(input_shape))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@_register
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

    def call(self, x, training=None):
        return self.bn(self.linear(x), training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "gamma": self.gamma}


@_register
class Attention(keras.layers.Layer):
    """Multi-head attention with an attention bias; with `stride` 2 LeViT's subsampling attention.

    `softmax(q k^T / sqrt(key_dim) + bias) v`, activation, projection. With stride 1, q, k and v
    come from one projection `qkv`. With stride 2 the queries are computed from every second token
    in each direction by a projection of their own, `q`, and keys and values from all tokens by
    `kv`, so that the output grid is the queries' (paper, section 4.2).

    Args:
      num_heads: attention heads.
      key_dim: channels of a head's query and key.
      value_dim: channels of a head's value.
      output_dim: channels of the output.
      stride: 1, or 2 to subsample.
      activation: Keras name of the activation before the projection.
      gamma: initial BatchNorm scale of the projection; 0 where attention is a residual branch.

    Input shape: (batch, height, width, channels), height and width known.
    Output shape: (batch, ceil(height / stride), ceil(width / stride), output_dim).

    Raises:
      ValueError: the input's height or width is not known when the layer is built; the bias table
        has one entry for each offset on the grid.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int,
        output_dim: int,
        stride: int = 1,
        activation: str = "hard_silu",
        gamma: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.output_dim = output_dim
        self.stride = stride
        self.gamma = gamma
        self.activation = keras.activations.get(activation)
        dtype = self.dtype_policy
        if stride == 1:
            self.qkv = DenseBN(num_heads * (2 * key_dim + value_dim), dtype=dtype, name="qkv")
        else:
            self.kv = DenseBN(num_heads * (key_dim + value_dim), dtype=dtype, name="kv")
            self.q = DenseBN(num_heads * key_dim, dtype=dtype, name="q")
        self.proj = DenseBN(output_dim, gamma=gamma, dtype=dtype, name="proj")

    def build(self, input_shape):
        batch, *grid, _ = input_shape
        if len(grid) != 2 or None in grid:
            raise ValueError(
                f"{self.name}: attention needs an input of shape (batch, height, width, channels) "
                f"with a fixed height and width. Received: {tuple(input_shape)}"
            )
        self.grid = tuple(grid)
        self.output_grid = tuple(-(-side // self.stride) for side in grid)
        if self.stride == 1:
            self.qkv.build(input_shape)
        else:
            self.kv.build(input_shape)
            self.q.build((batch, *self.output_grid, input_shape[-1]))
        self.proj.build((batch, *self.output_grid, self.num_heads * self.value_dim))
        self.attention_biases = self.add_weight(
            name="attention_biases",
            shape=(self.num_heads, self.grid[0] * self.grid[1]),
            initializer="zeros",
        )
        self._bias_index = attention_bias_index(self.grid, self.stride)

    def call(self, x, training=None):
        q, k, v = self._query_key_value(x, training)
        x = ops.matmul(self._weights(q, k), v)  # (batch, heads, queries, value_dim)
        x = ops.transpose(x, (0, 2, 1, 3))  # (batch, queries, heads, value_dim)
        # (batch, queries, heads, value_dim) -> (batch, height, width, heads * value_dim)
        x = ops.reshape(x, (-1, *self.output_grid, self.num_heads * self.value_dim))
        return self.proj(self.activation(x), training=training)

    def attention_bias(self):
        """The bias added to the scores, of shape (heads, queries, keys)."""
        return ops.take(self.attention_biases, self._bias_index, axis=1)

    def attention_weights(self, x):
        """How much each query takes of each key, at inference.

        Args:
          x: the layer's input, (batch, height, width, channels).

        Returns:
          (batch, heads, queries, keys); over the keys they sum to 1.
        """
        q, k, _ = self._query_key_value(x, training=False)
        return self._weights(q, k)

    def _weights(self, q, k):
        scores = ops.matmul(q, k) * self.key_dim**-0.5  # (batch, heads, queries, keys)
        return _softmax(scores + self.attention_bias())

    def _query_key_value(self, x, training):
        """q (batch, heads, queries, D), k (batch, heads, D, keys), v (batch, heads, keys, V)."""
        if self.stride == 1:
            qkv = self._split_heads(self.qkv(x, training=training))
            q, k, v = ops.split(qkv, [self.key_dim, 2 * self.key_dim], axis=-1)
        else:
            kv = self._split_heads(self.kv(x, training=training))
            k, v = ops.split(kv, [self.key_dim], axis=-1)
            subsampled = x[:, :: self.stride, :: self.stride]
            q = self._split_heads(self.q(subsampled, training=training))
        return (
            ops.transpose(q, (0, 2, 1, 3)),  # (batch, queries, heads, D) -> (b, heads, queries, D)
            ops.transpose(k, (0, 2, 3, 1)),  # (batch, keys, heads, D) -> (batch, heads, D, keys)
            ops.transpose(v, (0, 2, 1, 3)),  # (batch, keys, heads, V) -> (batch, heads, keys, V)
        )

    def _split_heads(self, x):
        """(batch, height, width, heads * n) -> (batch, height * width, heads, n)."""
        _, height, width, channels = x.shape
        return ops.reshape(x, (-1, height * width, self.num_heads, channels // self.num_heads))

    def compute_output_shape(self, input_shape):
        grid = (-(-side // self.stride) for side in input_shape[1:3])
        return (input_shape[0], *grid, self.output_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "output_dim": self.output_dim,
            "stride": self.stride,
            "activation": keras.activations.serialize(self.activation),
            "gamma": self.gamma,
        }


def _softmax(scores):
    """Softmax over the keys, the last axis."""
    if scores.shape[-1] == 1:
        # On a grid of one token every weight is 1. Keras' softmax warns of that, and rightly so
        # where it is not meant; this is 1 too, with the gradient of 0 that optimizers expect.
        return ops.exp(scores - scores)
    return ops.softmax(scores, axis=-1)


@_register
class MLP(keras.layers.Layer):
    """Dense+BN to `hidden_dim`, activation, Dense+BN to `output_dim`: a block's second half.

    Always a residual branch, so the last BatchNorm scale begins at 0.

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


@_register
class DropPath(keras.layers.Layer):
    """Stochastic depth: in training, drops a sample's residual branch with probability `rate`.

    What is kept is scaled by 1 / (1 - rate) (levit.py, `Residual`).

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
        # One draw for each sample, broadcast over its map: (batch, 1, 1, 1).
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        # In float32: half precision would round the rate itself.
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        kept = ops.cast(draw >= self.rate, "float32") / (1 - self.rate)
        return x * ops.cast(kept, x.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@_register
class BNDense(keras.layers.Layer):
    """BatchNorm, then a dense layer with bias: one classification head.

    Args:
      units: classes.

    Input shape: (batch, channels). Output shape: (batch, units), logits.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.bn = _batch_norm(self.dtype_policy)
        self.linear = keras.layers.Dense(
            units,
            # The reference truncates at +-2, a hundred standard deviations: a plain normal. Keras'
            # TruncatedNormal cuts at two deviations and would come out at 0.0176.
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="linear",
        )

    def build(self, input_shape):
        self.bn.build(input_shape)
        self.linear.build(input_shape)

    def call(self, x, training=None):
        return self.linear(self.bn(x, training=training))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@_register
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
