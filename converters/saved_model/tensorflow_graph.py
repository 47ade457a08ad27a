"""Rewrites the deploy graph into the forms that TensorFlow's CPU kernels (oneDNN) compute fastest.

TensorFlow fuses a convolution with its bias and a hard-swish into one kernel only if the graph
writes them in one particular way, which Keras' layers do not use: `nn.conv2d`, `nn.bias_add`, and
then `x * (relu6(x + 3) * (1/6))` under the same name, because the optimiser sorts the factors of a
product by name. So the layers are replaced by layers that do:

- a hard-swish after a convolution becomes that convolution's activation;
- the hard-swish of an attention layer follows a matrix product, which has no such kernel. A
  depthwise 1x1 convolution with weights of 1 is inserted: it adds the bias of the values, which
  commutes with the mixing of tokens as attention weights sum to 1, and is fused with hard-swish;
- weights are constants, which oneDNN reorders once and not in every call. However, TensorFlow
  copies constants with the graph, about ten times until the first result, but never variables.

On other devices (GPUs, ARM) these are ordinary operations. The forms were derived from the graphs
that TensorFlow 2.21 executes; `docs/performance.md` lists the gain of each form.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from converters.choices import CONSTANTS, PRECISIONS, VARIABLES, WEIGHTS
from converters.deploy import NORMALIZE, core_of, layer_or_none
from converters.saved_model.input_checks import checked_batch
from levit_common.shipped_names import INPUT, LOGITS, PROBABILITIES
from levit_tf.keras_graph.graph_calls import calls_of, copy_weights
from levit_tf.sizes import side_stride

# Layers after the pooled features compute in float32: they are small and give the result.
_IN_FLOAT32 = (
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Dense,
    keras.layers.Average,
)
# Layers that work on pixels, which bfloat16 would round.
_OF_PIXELS = (keras.layers.Rescaling, keras.layers.Normalization)


def tensorflow_function(
    graph: keras.Model,
    precision: str = "float32",
    largest: int | None = None,
    weights: str = CONSTANTS,
) -> tf.types.experimental.GenericFunction:
    """Builds the function that a SavedModel serves.

    Args:
      graph: a result of `converters.deploy.deploy_graph`.
      precision: "float32", or "bfloat16" for weights and activations up to the pooled features;
        the input and the outputs stay float32.
      largest: longest allowed side in pixels, for a network with an open input size; None for any.
      weights: "constants", or "variables", which the caller must track when saving the function.

    Returns:
      A `tf.function` from images, in the form that `graph` takes, to the outputs of `graph` by
      name.

    Raises:
      ValueError: `precision` or `weights` is unknown.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"Weights must be one of {WEIGHTS}. Received: {weights!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"Precision must be one of {PRECISIONS}. Received: {precision!r}")
    normalize, probabilities = (layer_or_none(graph, x) for x in (NORMALIZE, PROBABILITIES))
    core = respelled(core_of(graph), precision)
    stride = side_stride(core) if None in graph.input.shape[1:3] else 1
    arrays = [
        [keras.ops.convert_to_numpy(v) for v in variables]
        for variables in (core.trainable_variables, core.non_trainable_variables)
    ]
    if weights == VARIABLES:
        arrays = [[tf.Variable(array, trainable=False) for array in group] for group in arrays]

    @tf.function(
        input_signature=[tf.TensorSpec(graph.input.shape, tf.float32, name=INPUT)], autograph=False
    )
    def serve(images):
        images = checked_batch(images, INPUT, graph.input.shape[1:], None, stride, largest)
        # Created here, because otherwise they are graph inputs, reordered by oneDNN in every call.
        values = [[tf.convert_to_tensor(array) for array in group] for group in arrays]
        x = images if normalize is None else normalize(images)
        found, _ = core.stateless_call(*values, x, training=False)
        if isinstance(found, dict):
            return {name: tf.cast(y, tf.float32) for name, y in found.items()}
        logits = tf.cast(found, tf.float32)
        return {LOGITS: logits, PROBABILITIES: probabilities(logits)}

    return serve


def respelled(core: keras.Model, precision: str) -> keras.Model:
    """Copies the network from normalised pixels to logits, using the layers of this module."""
    values_bias = {}  # name of an attention layer -> bias of its values
    for layer in core.layers:
        name = layer.name.removesuffix(_MERGE)
        if layer.name.endswith(_MERGE) and _is_hard_swish(core.get_layer(f"{name}_act")):
            values_bias[name] = core.get_layer(f"{name}_v").get_weights()[1]
    followed = _activated_convolutions(core)
    taken = {*followed.values(), *(f"{name}_act" for name in values_bias)}
    copies = []

    def clone(layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # a stateless operation
        config = layer.get_config()
        in_float32 = isinstance(layer, _IN_FLOAT32 + _OF_PIXELS) or len(layer.output.shape) == 2
        config["dtype"] = "float32" if in_float32 else precision
        kind = type(layer)
        if _is_plain_convolution(layer):
            copy = _Conv2D.from_config(config)
            copy.activation = _hard_swish if layer.name in followed else copy.activation
        elif kind is keras.layers.Embedding:
            copy = _Constant.from_config(config)
        elif layer.name in taken:
            name = layer.name.removesuffix("_act")
            function = _biased_hard_swish(values_bias[name]) if name in values_bias else _identity
            copy = kind.from_config({**config, "activation": "linear"})
            copy.activation = function
        else:
            copy = kind.from_config(config)
        copies.append((copy, layer))
        return copy

    respelled = keras.models.clone_model(core, clone_function=clone)
    copy_weights(copies)
    for name, bias in values_bias.items():  # added after the mixing of tokens
        respelled.get_layer(f"{name}_v").bias.assign(np.zeros_like(bias))
    return respelled


_MERGE = "_merge_heads"


def _activated_convolutions(core: keras.Model) -> dict[str, str]:
    """Returns the names of convolutions read only by a hard-swish -> name of the hard-swish."""
    calls = calls_of(core)
    found = {}
    for call in calls:
        if not _is_plain_convolution(call.operation):
            continue
        (y,) = call.outputs
        following = [other.operation for other in calls if any(x is y for x in other.inputs)]
        is_output = any(x is y for x in core.outputs)
        if len(following) == 1 and not is_output and _is_hard_swish(following[0]):
            found[call.operation.name] = following[0].name
    return found


def _is_plain_convolution(layer) -> bool:
    """Returns whether a layer is a convolution as in a fused LeViT."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.padding == "valid"
        and layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
    )


def _is_hard_swish(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, keras.layers.Activation)
        and layer.activation is keras.activations.hard_silu
    )


class _Conv2D(keras.layers.Conv2D):
    """A convolution without padding, written in TensorFlow's own operations."""

    def call(self, x):
        x = tf.nn.conv2d(x, self.kernel, self.strides, "VALID")
        if self.use_bias:
            x = tf.nn.bias_add(x, self.bias)
        return self.activation(x)


class _Constant(keras.layers.Embedding):
    """An Embedding with one row, replaced by this row as a constant."""

    def call(self, row):
        return tf.convert_to_tensor(self.embeddings)


def _hard_swish(x: tf.Tensor) -> tf.Tensor:
    # Exactly the form that the optimiser recognises.
    return x * (tf.nn.relu6(x + tf.constant(3, x.dtype)) * tf.constant(1 / 6, x.dtype))


def _identity(x: tf.Tensor) -> tf.Tensor:
    return x


def _biased_hard_swish(bias: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    def activation(x):
        ones = tf.ones([1, 1, bias.size, 1], x.dtype)
        x = tf.nn.depthwise_conv2d(x, ones, strides=[1, 1, 1, 1], padding="VALID")
        return _hard_swish(tf.nn.bias_add(x, tf.constant(bias, x.dtype)))

    return activation
