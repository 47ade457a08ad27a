"""Counts the FLOPs of a LeViT in train or deploy form, and of the Keras layers around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from levit_tf.attention import Attention
from levit_tf.attention_windows import subsampled
from levit_tf.keras_graph.flatten import as_functional
from levit_tf.keras_graph.graph_calls import calls_of
from levit_tf.layers import MLP, Classifier, ConvBN, DenseBN

Shape = Sequence[int | None]

_CONVOLUTIONS = (
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
)
# Layers without weights that multiply, for which this module has no rule.
_UNKNOWN_LAYERS = (
    *(keras.layers.Attention, keras.layers.Dot),
    *(keras.layers.Lambda, keras.layers.Wrapper),
)
_UNKNOWN_OPERATIONS = {
    *("Dot", "Einsum", "Tensordot", "Vdot", "Inner", "Outer", "DotProductAttention"),
    *("Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose"),
}
# Layers whose weights only scale, shift or are looked up.
_FREE_WITH_WEIGHTS = (
    *(keras.layers.BatchNormalization, keras.layers.LayerNormalization),
    *(keras.layers.GroupNormalization, keras.layers.Normalization, keras.layers.Embedding),
    *(keras.layers.PReLU, keras.layers.Dropout, keras.layers.GaussianNoise),
)


def count_flops(model: keras.Model) -> int:
    """Returns the multiply-adds per image, as the official code counts (FLOPS_COUNTER, levit.py).

    It counts convolutions, linear layers, both matrix products of attention, and one operation per
    element of attention's softmax. BatchNorm, activations and additions count as zero.

    Args:
      model: a LeViT in train or deploy form, or a functional or Sequential model that contains one
        and other Keras layers, also nested.

    Raises:
      ValueError: the model has no graph, an open size, nothing to count, or a layer that this
        function has no rule for; the message names the layer.
    """
    total = _model_flops(model)
    if not total:
        raise ValueError(
            f"count_flops(): {getattr(model, 'name', model)!r} has no convolution and no linear "
            "layer, so there is nothing to count."
        )
    return total


def _model_flops(model: keras.Model) -> int:
    return sum(
        _flops(call.operation, *([tuple(t.shape) for t in x] for x in (call.inputs, call.outputs)))
        for call in calls_of(as_functional(model))
    )


def _flops(operation: Any, inputs: list[Shape], outputs: list[Shape]) -> int:
    if isinstance(operation, keras.Model):
        return _model_flops(operation)
    counted = _levit_flops(operation, outputs)
    if counted is not None:
        return counted
    if isinstance(operation, _CONVOLUTIONS):
        return _places(operation, outputs[0]) * math.prod(operation.kernel.shape)
    if isinstance(operation, keras.layers.Conv2DTranspose):
        return _places(operation, inputs[0]) * math.prod(operation.kernel.shape)
    if isinstance(operation, keras.layers.SeparableConv2D):
        kernels = (operation.depthwise_kernel, operation.pointwise_kernel)
        return _places(operation, outputs[0]) * sum(math.prod(k.shape) for k in kernels)
    if isinstance(operation, keras.layers.Dense):
        return _product(operation, outputs[0][1:-1]) * math.prod(operation.kernel.shape)
    if type(operation).__name__ == "Matmul":
        return _product(operation, (*outputs[0][1:], inputs[0][-1]))
    is_softmax = isinstance(operation, keras.layers.Softmax) or (
        getattr(operation, "activation", None) is keras.activations.softmax
    )
    if is_softmax and len(outputs[0]) == 4:  # in attention: (batch, heads, queries, keys)
        return _product(operation, outputs[0][1:])
    if not _is_free(operation):
        raise _unknown(operation)
    return 0


def _is_free(operation: Any) -> bool:
    """Returns whether a layer or operation without a counting rule is known to multiply nothing."""
    if type(operation).__module__.partition(".")[0] not in ("keras", "levit_tf"):
        return False
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).__name__ not in _UNKNOWN_OPERATIONS
    if isinstance(operation, _FREE_WITH_WEIGHTS):
        return True
    return not operation.weights and not isinstance(operation, _UNKNOWN_LAYERS)


def _levit_flops(layer: Any, outputs: list[Shape]) -> int | None:
    """Returns the FLOPs of a layer of LeViT's train form; None for any other layer."""
    if isinstance(layer, ConvBN):
        return _product(layer, outputs[0][1:3]) * _kernel_size(layer)
    if isinstance(layer, DenseBN):
        return _product(layer, outputs[0][1:-1]) * _kernel_size(layer)
    if isinstance(layer, MLP):
        points = _product(layer, outputs[0][1:3])
        return points * (_kernel_size(layer.ln1) + _kernel_size(layer.ln2))
    if isinstance(layer, Attention):
        queries = _product(layer, outputs[0][1:3])
        keys, pairs = math.prod(layer.grid), _pairs(layer)
        products = layer.num_heads * pairs * (layer.key_dim + 1 + layer.value_dim)
        if layer.stride == 1:
            projections = keys * _kernel_size(layer.qkv)
        else:
            projections = keys * _kernel_size(layer.kv) + queries * _kernel_size(layer.q)
        return products + projections + queries * _kernel_size(layer.proj)
    if isinstance(layer, Classifier):
        return sum(_kernel_size(head) for head in (layer.head, layer.head_dist) if head)
    return None


def _pairs(layer: Attention) -> int:
    """Returns the number of (query, key) pairs that are computed, including padding of windows."""
    cuts = layer.cuts(layer.grid)
    if cuts is None:
        return math.prod(layer.grid) * math.prod(layer.output_grid)
    return math.prod(part.count * part.size * subsampled(part, layer.stride).size for part in cuts)


def _kernel_size(projection: keras.layers.Layer) -> int:
    return math.prod(projection.linear.kernel.shape)


def _places(layer: keras.layers.Layer, shape: Shape) -> int:
    """Returns the number of pixels of a map, for either position of the channel axis."""
    is_last = layer.data_format == "channels_last"
    return _product(layer, shape[1:-1] if is_last else shape[2:])


def _product(operation: Any, sizes: Shape) -> int:
    if None in sizes:
        raise ValueError(
            f"count_flops() needs fixed sizes; those of {operation.name!r} are open: "
            f"{tuple(sizes)}. Build the model with an input_shape."
        )
    return math.prod(sizes)


def _unknown(operation: Any) -> ValueError:
    return ValueError(
        f"count_flops() does not know what {operation.name!r}, a {type(operation).__name__}, "
        "computes; it counts LeViT's layers, convolutions, Dense and matmul."
    )
