"""The deploy graph in tf_keras, op by op, for tensorflow-model-optimization.

There is one definition of the deploy graph, `levit_tf.fusion`, in Keras 3. `make_twin` reads such
a graph and builds the same one in tf_keras: the same names, the same order, the same weights. What
training has made of the weights goes back into the graph by `set_graph_weights`, so that a trained
network is exported as every other is.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from converters.qat import twin_layers
from converters.qat.qat_packages import tf_keras
from converters.qat.qat_ranges import activation_name, gate_name, partial_sum_name
from levit_common.shipped_names import KEYPOINTS, LOGITS
from levit_tf.keras_graph.graph_calls import calls_of
from levit_tf.keypoints.decoding import DecodeHeatmap, DecodeSimCC


def make_twin(graph: keras.Model) -> tf_keras.Model:
    """Builds the twin of a deploy graph.

    Args:
      graph: a result of `converters.deploy.deploy_graph`.

    Returns:
      A functional tf_keras model of the same name: plain RGB -> logits; of a network that finds
      joints {"x", "y"} or {"heatmap"}, see `levit_tf.keypoints.network.logits_of`. Its layers have
      the names of those of `graph`. There are more of them where one Keras layer is more than one
      op of integers (see `converters.qat.twin_layers`), and an attention bias is an
      `AttentionBias`.

    Raises:
      ValueError: there is something in `graph` that no deploy graph of a classifier, or of a
        network that finds joints, has.
    """
    if LOGITS not in graph.output and KEYPOINTS not in graph.output:
        raise ValueError(
            "Quantisation-aware training is for classifiers and for networks that find joints; "
            f"this network returns {', '.join(graph.output)}. Without training: python -m "
            "converters.to_tflite --recipe=int8 --calibration=FOLDER."
        )
    translation = _Translation()
    images = tf_keras.Input(batch_shape=graph.input.shape, name=graph.input.name)
    translation.found[id(graph.input)] = images
    translation.run(graph)
    logits = translation.decoded or translation.found[id(graph.output[LOGITS])]
    twin = tf_keras.Model(images, logits, name=graph.name)
    for name, weights in translation.weights.items():
        twin.get_layer(name).set_weights(weights)
    return twin


def set_graph_weights(model: keras.Model, weights: Mapping[str, list[np.ndarray]]) -> None:
    """Gives a fused network the weights of a twin, in place.

    Args:
      model: the network that the twin's deploy graph was made of, or another of the same layers.
      weights: by name of layer, in the order of the layer's `get_weights`; an attention bias as
        the expanded constant (heads, queries, keys).

    Raises:
      ValueError: `weights` and `model` are of different networks.
    """
    layers = {
        layer.name: layer
        for layer in model._flatten_layers()
        if layer.weights and not isinstance(layer, keras.Model)
    }
    if set(layers) != set(weights):
        raise ValueError(f"Not the same network: {sorted(set(layers) ^ set(weights))}")
    for name, layer in layers.items():
        shapes = [weight.shape for weight in layer.get_weights()]
        # (heads, queries, keys) -> (1, heads * queries * keys) for an Embedding
        values = [np.reshape(w, s) for w, s in zip(weights[name], shapes, strict=True)]
        layer.set_weights(values)


class _Constant:
    """The output of an Embedding that holds an attention bias, before its shape is known."""

    def __init__(self, embedding: keras.layers.Embedding, source):
        self.embedding = embedding
        self.source = source


class _Translation:
    """State of one run of `make_twin`.

    Attributes:
      found: id of a Keras tensor -> the twin's tensor.
      weights: name of a twin's layer -> its weights.
      decoded: name of a Keras layer -> the twin's tensor, of the logits that joints are read off.
    """

    def __init__(self):
        self.found = {}
        self.weights = {}
        self.decoded = {}
        self._unnamed = {}

    def run(self, model: keras.Model) -> None:
        """Translates the operations of a model whose inputs are found already."""
        called = set()
        for operation, input_tensors, output_tensors in calls_of(model):
            if operation in called:
                raise ValueError(f"{operation.name!r} is called more than once: no deploy graph.")
            called.add(operation)
            inputs = [self.found[id(tensor)] for tensor in input_tensors]
            if isinstance(operation, keras.Model):
                self.found.update(zip(map(id, operation.inputs), inputs, strict=True))
                self.run(operation)
                outputs = [self.found[id(tensor)] for tensor in operation.outputs]
            elif isinstance(operation, (DecodeSimCC, DecodeHeatmap)):  # where the twin ends
                for tensor, found in zip(input_tensors, inputs, strict=True):
                    self.decoded[tensor._keras_history.operation.name] = found
                outputs = [None]
            else:
                outputs = [self._translated(operation, inputs)]
            self.found.update(zip(map(id, output_tensors), outputs, strict=True))

    def _translated(self, operation, inputs):
        kind = type(operation).__name__
        if kind in ("GetItem", "ZerosLike"):  # make the row number, always 0, of an Embedding
            return inputs[0]
        if kind == "Embedding":
            return _Constant(operation, inputs[0])
        if kind == "Reshape" and isinstance(inputs[0], _Constant):
            return self._attention_bias(operation, inputs[0])
        if isinstance(operation, keras.layers.Layer):
            make, name = _LAYERS.get(kind), operation.name
        else:
            # Keras numbers its operations through the whole process; here the place counts.
            make, name = _OPERATIONS.get(kind), f"{kind.lower()}_{self._unnamed.get(kind, 0)}"
            self._unnamed[kind] = self._unnamed.get(kind, 0) + 1
        if make is None:
            raise ValueError(f"{operation.name!r} is a {kind}, which no deploy graph has.")
        if operation_weights := getattr(operation, "weights", None):
            self.weights[name] = [keras.ops.convert_to_numpy(w) for w in operation_weights]
        return make(operation, name, *inputs)

    def _attention_bias(self, reshape: keras.layers.Reshape, constant: _Constant):
        (row,) = constant.embedding.get_weights()  # (1, heads * queries * keys)
        # (1, heads * queries * keys) -> (heads, queries, keys)
        layer, table = twin_layers.attention_bias(
            row.reshape(reshape.target_shape), constant.embedding.name
        )
        self.weights[layer.name] = [table]
        return layer(constant.source)


def _sum(layer, name, x, *others):
    """One op for each term but the first."""
    for number, other in enumerate(others):
        is_last = number == len(others) - 1
        own = name if is_last else partial_sum_name(name, number)
        x = tf_keras.layers.Add(name=own)([x, other])
    return x


def _dense(layer, name, x):
    x = tf_keras.layers.Dense(layer.units, name=name)(x)
    is_linear = keras.activations.serialize(layer.activation) == "linear"
    return x if is_linear else _activation(layer, activation_name(name), x)


def _resizing(layer, name, x):
    resizing = tf_keras.layers.Resizing(
        layer.height, layer.width, interpolation=layer.interpolation, name=name
    )
    return resizing(x)


def _activation(layer, name, x):
    function = keras.activations.serialize(layer.activation)
    gate = twin_layers.GATES.get(function)
    if gate is None:
        return tf_keras.layers.Activation(function, name=name)(x)
    return tf_keras.layers.Multiply(name=name)([x, gate(name=gate_name(name))(x)])


def _conv(layer, name, x):
    conv = tf_keras.layers.Conv2D(
        layer.filters,
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        use_bias=layer.use_bias,
        name=name,
    )
    return conv(x)


_OPERATIONS = {
    "Matmul": lambda op, name, a, b: twin_layers.MatMul(name=name)([a, b]),
    "Add": lambda op, name, a, b: twin_layers.AddBias(name=name)([a, b]),
}
_LAYERS = {
    "Activation": _activation,
    "Add": _sum,
    "Conv2D": _conv,
    "Dense": _dense,
    "GlobalAveragePooling2D": lambda layer, name, x: tf_keras.layers.GlobalAveragePooling2D(
        name=name
    )(x),
    "Identity": lambda layer, name, x: tf_keras.layers.Identity(name=name)(x),
    "Permute": lambda layer, name, x: tf_keras.layers.Permute(layer.dims, name=name)(x),
    "Rescaling": lambda layer, name, x: tf_keras.layers.Rescaling(
        layer.scale, layer.offset, name=name
    )(x),
    "Resizing": _resizing,
    "Reshape": lambda layer, name, x: tf_keras.layers.Reshape(layer.target_shape, name=name)(x),
    "ZeroPadding2D": lambda layer, name, x: tf_keras.layers.ZeroPadding2D(layer.padding, name=name)(
        x
    ),
}
