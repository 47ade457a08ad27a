"""FLOPs of a network: of a LeViT in either form, and of the Keras layers that are around it."""

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
# They multiply, and nobody has written down here how often.
_UNKNOWN_LAYERS = (
    *(keras.layers.Attention, keras.layers.Dot),
    *(keras.layers.Lambda, keras.layers.Wrapper),
)
_UNKNOWN_OPERATIONS = {
    *("Dot", "Einsum", "Tensordot", "Vdot", "Inner", "Outer", "DotProductAttention"),
    *("Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose"),
}
# Weights that only scale, shift or are looked up.
_FREE_WITH_WEIGHTS = (
    *(keras.layers.BatchNormalization, keras.layers.LayerNormalization),
    *(keras.layers.GroupNormalization, keras.layers.Normalization, keras.layers.Embedding),
    *(keras.layers.PReLU, keras.layers.Dropout, keras.layers.GaussianNoise),
)


def count_flops(model: keras.Model) -> int:
    """Multiply-adds of one image, counted as the official code does (FLOPS_COUNTER in levit.py).

    Counted are convolutions, linear layers, both matrix products of attention and one operation
    for each of its softmax's elements; BatchNorm, activations and additions are free.

    Args:
      model: a LeViT in train or deploy form, or a functional or Sequential model of it and of other
        Keras layers, also nested.

    Raises:
      ValueError: the model has no graph, an open size, nothing that is counted, or a layer of which
        nobody knows here what it computes; the message names it.
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
    if is_softmax and len(outputs[0]) == 4:  # of attention: (batch, heads, queries, keys)
        return _product(operation, outputs[0][1:])
    if not _is_free(operation):
        raise _unknown(operation)
    return 0


def _is_free(operation: Any) -> bool:
    """Whether a layer or operation, of those that are not counted, is known to multiply nothing."""
    if type(operation).__module__.partition(".")[0] not in ("keras", "levit_tf"):
        return False
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).__name__ not in _UNKNOWN_OPERATIONS
    if isinstance(operation, _FREE_WITH_WEIGHTS):
        return True
    return not operation.weights and not isinstance(operation, _UNKNOWN_LAYERS)


def _levit_flops(layer: Any, outputs: list[Shape]) -> int | None:
    """Of a layer of LeViT's train form; None for any other."""
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
    """Of a query and a key, all of those that are computed, the filling of windows included."""
    cuts = layer.cuts(layer.grid)
    if cuts is None:
        return math.prod(layer.grid) * math.prod(layer.output_grid)
    return math.prod(part.count * part.size * subsampled(part, layer.stride).size for part in cuts)


def _kernel_size(projection: keras.layers.Layer) -> int:
    return math.prod(projection.linear.kernel.shape)


def _places(layer: keras.layers.Layer, shape: Shape) -> int:
    """Pixels of a map, wherever its channels are."""
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
