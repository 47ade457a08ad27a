"""The deploy graph in the forms that TensorFlow's CPU kernels (oneDNN) compute fastest.

TensorFlow fuses a convolution with its bias and a hard-swish into one kernel, if the graph spells
them in one certain way, which Keras' layers do not: `nn.conv2d`, `nn.bias_add`, and then
`x * (relu6(x + 3) * (1/6))` under the same name, because the optimiser sorts the factors of a
product by name. So the layers are replaced by ones that do:

- a hard-swish after a convolution becomes that convolution's activation;
- the hard-swish of an attention layer follows a matrix product, which has no such kernel. A
  depthwise 1x1 convolution with weights of 1 is put in between: it adds the bias of the values,
  which commutes with the mixing of tokens as attention weights sum to 1, and takes the hard-swish;
- all weights are constants, which oneDNN reorders once and not for every call.

Elsewhere (GPUs, ARM) these are ordinary operations. Found in the graphs that TensorFlow 2.21
executes; `docs/performance.md` has what each form gains.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from converters.deploy import NORMALIZE
from converters.input_checks import checked_batch
from levit_tf.signatures import INPUT, LOGITS, PROBABILITIES

PRECISIONS = ("float32", "bfloat16")
# From the pooled features on, everything is in float32: it is little, and the result.
_IN_FLOAT32 = (
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Dense,
    keras.layers.Average,
)


def tensorflow_function(
    graph: keras.Model, precision: str = "float32"
) -> tf.types.experimental.GenericFunction:
    """Builds the function that a SavedModel serves.

    Args:
      graph: a result of `converters.deploy.deploy_graph`.
      precision: "float32", or "bfloat16" for weights and activations up to the pooled features;
        the input and the outputs stay float32.

    Returns:
      A `tf.function` of images, as `graph` takes them -> {"logits", "probabilities"}. Its weights
      are constants.

    Raises:
      ValueError: `precision` is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Precision must be one of {PRECISIONS}. Received: {precision!r}")
    normalize, probabilities = graph.get_layer(NORMALIZE), graph.get_layer(PROBABILITIES)
    (core,) = (layer for layer in graph.layers if isinstance(layer, keras.Model))
    core = _respelled(core, precision)
    arrays = [
        [keras.ops.convert_to_numpy(v) for v in variables]
        for variables in (core.trainable_variables, core.non_trainable_variables)
    ]

    @tf.function(
        input_signature=[tf.TensorSpec(graph.input.shape, tf.float32, name=INPUT)], autograph=False
    )
    def serve(images):
        images = checked_batch(images, INPUT, graph.input.shape[1:])
        # Made in here, or they would be inputs of the graph, which oneDNN reorders for every call.
        weights = [[tf.constant(array) for array in group] for group in arrays]
        x = tf.cast(normalize(images), precision)
        logits, _ = core.stateless_call(*weights, x, training=False)
        return {LOGITS: logits, PROBABILITIES: probabilities(logits)}

    return serve


def _respelled(core: keras.Model, precision: str) -> keras.Model:
    """A copy of the network from normalised pixels to logits, of the layers below."""
    values_bias = {}  # name of an attention layer -> bias of its values
    for layer in core.layers:
        name = layer.name.removesuffix(_MERGE)
        if layer.name.endswith(_MERGE) and _is_hard_swish(core.get_layer(f"{name}_act")):
            values_bias[name] = core.get_layer(f"{name}_v").get_weights()[1]
    followed = {
        layer.input._keras_history.operation.name for layer in core.layers if _is_hard_swish(layer)
    }
    copies = []

    def clone(layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation without state
        config = layer.get_config()
        config["dtype"] = "float32" if isinstance(layer, _IN_FLOAT32) else precision
        kind = type(layer)
        if kind is keras.layers.Conv2D:
            copy = _Conv2D.from_config(config)
            copy.activation = _hard_swish if layer.name in followed else copy.activation
        elif kind is keras.layers.Embedding:
            copy = _Constant.from_config(config)
        elif _is_hard_swish(layer):
            name = layer.name.removesuffix("_act")
            function = _biased_hard_swish(values_bias[name]) if name in values_bias else _identity
            copy = kind.from_config({**config, "activation": "linear"})
            copy.activation = function
        else:
            copy = kind.from_config(config)
        copies.append((copy, layer))
        return copy

    respelled = keras.models.clone_model(core, clone_function=clone)
    for copy, layer in copies:
        weights = layer.get_weights()
        if layer.name.removesuffix("_v") in values_bias and layer.name.endswith("_v"):
            weights[1] = np.zeros_like(weights[1])  # added after the mixing of tokens
        copy.set_weights(weights)
    return respelled


_MERGE = "_merge_heads"


def _is_hard_swish(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, keras.layers.Activation)
        and layer.activation is keras.activations.hard_silu
    )


class _Conv2D(keras.layers.Conv2D):
    """A convolution without padding in TensorFlow's own operations."""

    def call(self, x):
        x = tf.nn.conv2d(x, self.kernel, self.strides, "VALID")
        if self.use_bias:
            x = tf.nn.bias_add(x, self.bias)
        return self.activation(x)


class _Constant(keras.layers.Embedding):
    """The only row of a table, as what it is."""

    def call(self, row):
        return tf.convert_to_tensor(self.embeddings)


def _hard_swish(x: tf.Tensor) -> tf.Tensor:
    # Spelled as the optimiser looks for it.
    return x * (tf.nn.relu6(x + tf.constant(3, x.dtype)) * tf.constant(1 / 6, x.dtype))


def _identity(x: tf.Tensor) -> tf.Tensor:
    return x


def _biased_hard_swish(bias: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    def activation(x):
        ones = tf.ones([1, 1, bias.size, 1], x.dtype)
        x = tf.nn.depthwise_conv2d(x, ones, strides=[1, 1, 1, 1], padding="VALID")
        return _hard_swish(tf.nn.bias_add(x, tf.constant(bias, x.dtype)))

    return activation
