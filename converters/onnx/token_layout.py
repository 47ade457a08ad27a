"""Rewrites a deploy graph so that its 1x1 convolutions are dense layers over tokens.

The layout is (batch * height * width, channels). OpenVINO fuses attention and what follows a
product into few operators then, and reorders nothing; in quantised networks, ONNX Runtime has a
matrix product that returns floats, but no such convolution. Maps are kept wherever anything else
than a dense layer, an activation or a sum reads them.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from converters.deploy import NORMALIZE
from levit_tf.keras_graph.flatten import flatten
from levit_tf.keras_graph.graph_calls import copied


def with_tokens(graph: keras.Model) -> keras.Model:
    """Copies a deploy graph and replaces 1x1 convolutions by dense layers of the same names.

    Args:
      graph: see `converters.deploy.deploy_graph`, for pictures of one size.

    Returns:
      A flat functional model that computes the same, with its own weights.
    """
    rewriting = _Rewriting()
    flat = flatten(graph)
    found = copied(flat, rewriting.call)
    for name, dense in rewriting.dense.items():
        # (1, 1, channels, filters) -> (channels, filters)
        kernel, *bias = flat.get_layer(name).get_weights()
        dense.set_weights([kernel[0, 0], *(bias or [np.zeros(dense.units, np.float32)])])
    return found


class _Rewriting:
    """State of one graph copy."""

    def __init__(self):
        self.dense = {}  # dense layers by name
        # Tokens of maps, by the id of the map. The maps are kept, so that ids stay unique.
        self._tokens = {}

    def call(self, layer, *args, **kwargs):
        """Calls the replacement of a layer; see `copied`."""
        if not isinstance(layer, keras.layers.Layer):
            return _renamed(layer)(*args, **kwargs)
        if isinstance(layer, keras.layers.Conv2D) and _is_pointwise(layer):
            return self._dense(layer, args[0])
        if layer.name == NORMALIZE:
            return _normalized(layer, args[0])
        inputs = keras.tree.flatten(args)
        if _is_elementwise(layer, inputs) and any(id(x) in self._tokens for x in inputs):
            y = layer(*keras.tree.map_structure(self._tokens_of, args), **kwargs)
            return self._map(y, inputs[0].shape[1:])
        return layer(*args, **kwargs)

    def _dense(self, layer: keras.layers.Conv2D, x):
        (down, right), filters = layer.strides, layer.filters
        if (down, right) != (1, 1):
            x = x[:, ::down, ::right]
        if layer.name not in self.dense:  # else the layer is called another time
            # Always with a bias (zeros if there was none), so that the product is one operator.
            self.dense[layer.name] = keras.layers.Dense(filters, dtype="float32", name=layer.name)
        y = self.dense[layer.name](self._tokens_of(x))
        return self._map(y, (*x.shape[1:3], filters))

    def _tokens_of(self, x):
        """Converts a map (batch, height, width, channels) to (batch * height * width, channels)."""
        if id(x) not in self._tokens:
            self._tokens[id(x)] = ops.reshape(x, (-1, x.shape[-1])), x
        return self._tokens[id(x)][0]

    def _map(self, tokens, shape):
        """Converts (batch * height * width, channels) to a map (batch, height, width, channels)."""
        x = ops.reshape(tokens, (-1, *shape))
        self._tokens[id(x)] = tokens, x
        return x


def _renamed(operation: keras.Operation) -> keras.Operation:
    """Returns the same operation under a new name.

    Keras numbers operations by process, so one from a file may have the next name that it gives.
    """
    config = operation.get_config()
    return type(operation).from_config({key: config[key] for key in config if key != "name"})


def _is_pointwise(layer: keras.layers.Conv2D) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and (layer.kernel_size, layer.dilation_rate, layer.groups) == ((1, 1), (1, 1), 1)
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
    )


def _is_elementwise(layer, inputs: list) -> bool:
    """Returns whether each output value depends only on values at the same position of maps."""
    if isinstance(layer, keras.layers.Activation):
        is_such = layer.activation is not keras.activations.softmax
    else:
        is_such = type(layer) in (keras.layers.Add, keras.layers.Subtract, keras.layers.Multiply)
    return is_such and all(len(x.shape) == 4 and x.shape == inputs[0].shape for x in inputs)


def _normalized(layer: keras.layers.Rescaling, x):
    """Scales pixels as rows of width * channels values, as an innermost axis of 3 is slow."""
    _, height, width, channels = x.shape
    scale, offset = (
        np.tile(np.broadcast_to(values, channels), width).tolist()
        for values in (layer.scale, layer.offset)
    )
    rows = keras.layers.Rescaling(scale, offset, dtype="float32", name=layer.name)
    x = rows(ops.reshape(x, (-1, height, width * channels)))
    return ops.reshape(x, (-1, height, width, channels))
