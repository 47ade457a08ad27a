"""`fuse()`: converts the train form to the deploy graph, from which every export is made.

Each LeViT layer is replaced by built-in Keras layers that compute the same function faster:

- every BatchNorm is folded into the projection before it (in a head: after it);
- D^-0.5 is folded into q, and k has no bias, since softmax does not see a constant along the keys;
- q, k and v are separate 1x1 convolutions, and the subsampled q one of stride 2, because CPU
  delegates support neither SPLIT nor strided slices: so the network stays in one XNNPACK partition;
- the bias table is expanded to a constant (heads, queries, keys), and resized first if the grid is
  another one; in networks for every size it is the weight of a `MapAttention`, the only layer
  here that is not built into Keras;
- the mean of two linear heads is one linear head.

Each layer is rewritten by itself, so this works on any functional or Sequential model that contains
LeViT layers: feature extractors, other heads on top, other layers before, a LeViT as a layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from levit_tf import attention_windows as windows
from levit_tf import layers as levit_layers
from levit_tf.attention import Attention, MapAttention
from levit_tf.keras_graph.flatten import flatten
from levit_tf.keras_graph.graph_calls import copy_weights


def fuse(model: keras.Model) -> keras.Model:
    """Builds the deploy graph of a model: built-in Keras layers only, in float32.

    The result loads with `keras.models.load_model` without levit_tf being installed.

    The properties noted in the model are kept (`levit_tf.model_properties`).

    Args:
      model: a functional `keras.Model` or a built Sequential with LeViT layers. Models nested in it
        become part of one flat graph. It is not changed.

    Returns:
      A new functional model of the same name, with its own weights and the same inputs and outputs
      (relative difference to `model(x, training=False)` about 1e-6).

    Raises:
      ValueError: `model` has no LeViT layer to fuse, is of another kind, calls a LeViT layer more
        than once, or was quantised by Keras.
    """
    if not has_levit_layers(model):
        raise ValueError(
            f"Model {getattr(model, 'name', model)!r} has no LeViT layer to fuse: it is fused "
            "already, or no LeViT."
        )
    return rewritten(model)


def has_levit_layers(model: keras.Model) -> bool:
    """Returns whether a model, or a model nested in it, has layers that `fuse` replaces."""
    return any(
        type(layer) in _REWRITES or (isinstance(layer, keras.Model) and has_levit_layers(layer))
        for layer in flatten(model).layers
    )


def rewritten(
    model: keras.Model, is_left_out: Callable[[keras.layers.Layer], bool] = lambda layer: False
) -> keras.Model:
    """Returns a flat float32 copy of a model, with its own weights and with LeViT layers fused.

    Args:
      model: see `fuse`; LeViT layers are optional here.
      is_left_out: returns whether a layer is left out of the copy; it must pass on its input as is.

    Raises:
      ValueError: see `fuse`.
    """
    integers = [w.path for w in model.weights if keras.backend.standardize_dtype(w.dtype) == "int8"]
    if integers:
        raise ValueError(
            f"Model {model.name!r} was quantised by Keras' model.quantize ({integers[0]} is int8), "
            "after which it can neither be fused nor exported: take it from before that."
        )
    flat = flatten(model)
    graph = _Rewriting(is_left_out)
    copy = keras.models.clone_model(
        flat, clone_function=graph.clone_layer, call_function=graph.call_layer
    )
    copy_weights(graph.unchanged)
    return copy


class _Rewriting:
    """State of one run of `clone_model`."""

    def __init__(self, is_left_out):
        self.unchanged = []  # (new layer, its original), to copy the weights once all are built
        self._is_left_out = is_left_out
        self._called = set()

    def clone_layer(self, layer):
        if type(layer) in _REWRITES or not isinstance(layer, keras.layers.Layer):
            return layer
        if isinstance(layer, keras.Model):  # a nested model that could not be flattened
            return rewritten(layer, self._is_left_out)
        config = layer.get_config()
        config["dtype"] = "float32"
        copy = type(layer).from_config(config)
        self.unchanged.append((copy, layer))
        return copy

    def call_layer(self, layer, *args, **kwargs):
        rewrite = _REWRITES.get(type(layer))
        if rewrite is None:
            # A remainder of flattened nested models.
            is_nothing = type(layer).__name__ == "ConvertToTensor"
            if not is_nothing and not self._is_left_out(layer):
                return layer(*args, **kwargs)
            given = keras.tree.flatten((args, kwargs))
            return next(x for x in given if keras.utils.is_keras_tensor(x))  # as in 1 - x
        if layer in self._called:
            raise ValueError(
                f"Layer {layer.name!r} is called more than once, which fuse() does not support."
            )
        self._called.add(layer)
        return rewrite(layer, args[0])


def _batch_norm_affine(bn: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Returns float64 (scale, shift) of a BatchNorm at inference: y = x * scale + shift."""
    gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in bn.get_weights())
    scale = gamma / np.sqrt(variance + bn.epsilon)
    return scale, beta - mean * scale


def _folded(projection) -> tuple[np.ndarray, np.ndarray]:
    """Returns float64 (kernel, bias) of a ConvBN or DenseBN as one layer, output channels last."""
    scale, shift = _batch_norm_affine(projection.bn)
    (kernel,) = projection.linear.get_weights()
    return kernel * scale, shift


def _with_weights(layer: keras.layers.Layer, x, *weights: np.ndarray):
    y = layer(x)
    layer.set_weights([np.asarray(w, np.float32) for w in weights])
    return y


def _pointwise(x, kernel: np.ndarray, bias: np.ndarray | None, name: str, stride: int = 1):
    """1x1 convolution: (batch, h, w, c) -> (batch, ceil(h / stride), ceil(w / stride), filters)."""
    layer = keras.layers.Conv2D(
        filters=kernel.shape[1],
        kernel_size=1,
        strides=stride,
        use_bias=bias is not None,
        data_format="channels_last",
        dtype="float32",
        name=name,
    )
    weights = [kernel[None, None]]  # (c, filters) -> (1, 1, c, filters)
    return _with_weights(layer, x, *weights, *([] if bias is None else [bias]))


def _activation(x, activation, name: str):
    return keras.layers.Activation(activation, dtype="float32", name=name)(x)


def _conv_bn(layer: levit_layers.ConvBN, x):
    kernel, bias = _folded(layer)
    x = keras.layers.ZeroPadding2D(
        1, data_format="channels_last", dtype="float32", name=f"{layer.name}_pad"
    )(x)
    conv = keras.layers.Conv2D(
        layer.filters, 3, strides=2, data_format="channels_last", dtype="float32", name=layer.name
    )
    return _with_weights(conv, x, kernel, bias)


def _dense_bn(layer: levit_layers.DenseBN, x, name: str):
    kernel, bias = _folded(layer)
    return _pointwise(x, kernel, bias, name)


def _mlp(layer: levit_layers.MLP, x):
    x = _dense_bn(layer.ln1, x, f"{layer.name}_ln1")
    x = _activation(x, layer.activation, f"{layer.name}_act")
    return _dense_bn(layer.ln2, x, f"{layer.name}_ln2")


def _attention(layer: Attention, x):
    name = layer.name
    query, key, value = _query_key_value(layer)
    values = functools.partial(_pointwise, x, *value, f"{name}_v")
    if None in layer.grid:
        x = _open_attention(layer, _queries_and_keys(layer, x, query, key), values())
    elif layer.grid == (1, 1):
        x = values()  # with a single key the softmax is 1, so the output is the value itself
    else:
        maps = _queries_and_keys(layer, x, query, key)
        x = _fixed_attention(layer, x, maps, values)
    x = _activation(x, layer.activation, f"{name}_act")
    return _dense_bn(layer.proj, x, f"{name}_proj")


def _queries_and_keys(layer: Attention, x, query, key):
    """Returns the maps of q (scaled and subsampled) and of k."""
    scale = layer.key_dim**-0.5
    q_kernel, q_bias = query
    k_kernel, _ = key  # its bias adds the same to all keys of a query: softmax ignores that
    q = _pointwise(x, q_kernel * scale, q_bias * scale, f"{layer.name}_q", stride=layer.stride)
    return q, _pointwise(x, k_kernel, None, f"{layer.name}_k")


def _open_attention(layer: Attention, maps, values):
    mixing = MapAttention(
        layer.num_heads,
        layer.stride,
        table_grid=layer.table_grid,
        window=layer.window,
        is_shifted=layer.is_shifted,
        dtype="float32",
        name=f"{layer.name}_mix",
    )
    return _with_weights(mixing, [*maps, values], ops.convert_to_numpy(layer.attention_biases))


def _fixed_attention(layer: Attention, x, maps, values):
    """Builds softmax(q k + bias) v for maps of a known size from Keras' layers; returns a map."""
    name, heads, grid = layer.name, layer.num_heads, layer.grid
    cuts = layer.cuts(grid)
    is_cut = cuts is not None and any(part.count > 1 for part in cuts)
    q, k = maps
    if is_cut:
        q_cuts = [windows.subsampled(part, layer.stride) for part in cuts]
        q, k = windows.to_windows(q, *q_cuts), windows.to_windows(k, *cuts)
    q = _tokens(q, heads, (2, 1, 3), f"{name}_q")  # (batch, heads, queries, key_dim)
    k = _tokens(k, heads, (2, 3, 1), f"{name}_k")  # (batch, heads, key_dim, keys)
    bias = ops.convert_to_numpy(layer.attention_bias(cuts and [part.size for part in cuts]))
    scores = ops.add(ops.matmul(q, k), _constant(bias, x, f"{name}_attention_bias"))
    if is_cut and windows.has_filling(*cuts):
        mask = _constant(windows.key_mask(*cuts)[0], x, f"{name}_attention_mask")
        scores = windows.masked(scores, mask)
    weights = _activation(scores, "softmax", f"{name}_softmax")
    v = values()
    if is_cut:
        v = windows.to_windows(v, *cuts)
    v = _tokens(v, heads, (2, 1, 3), f"{name}_v")  # (batch, heads, keys, value_dim)
    x = ops.matmul(weights, v)  # (batch, heads, queries, value_dim)
    # (batch, heads, queries, value_dim) -> (batch, queries, heads, value_dim)
    x = keras.layers.Permute((2, 1, 3), name=f"{name}_merge_transpose")(x)
    # (batch, queries, heads, value_dim) -> (batch, height, width, heads * value_dim)
    sides = [part.size for part in q_cuts] if is_cut else layer.output_grid
    merged = (*sides, heads * layer.value_dim)
    x = keras.layers.Reshape(merged, name=f"{name}_merge_heads")(x)
    return windows.from_windows(x, *q_cuts) if is_cut else x


def _tokens(x, heads: int, order: tuple[int, int, int], name: str):
    """(batch, height, width, heads * n) -> (batch, tokens, heads, n) -> permuted by `order`."""
    _, height, width, channels = x.shape
    x = keras.layers.Reshape((height * width, heads, channels // heads), name=f"{name}_heads")(x)
    return keras.layers.Permute(order, name=f"{name}_transpose")(x)


def _query_key_value(layer: Attention):
    """Returns folded (kernel, bias) of q, k and v: (channels, heads * dims) and (heads * dims,)."""

    def split(projection, *dims):
        parts = []
        for weight in _folded(projection):
            # (..., heads * n) -> (..., heads, n) -> one array for each of q, k, v
            by_head = weight.reshape(*weight.shape[:-1], layer.num_heads, sum(dims))
            pieces = np.split(by_head, np.cumsum(dims)[:-1], axis=-1)
            # (..., heads, dims) -> (..., heads * dims)
            parts.append([p.reshape(*weight.shape[:-1], -1) for p in pieces])
        return list(zip(*parts, strict=True))

    if layer.stride == 1:
        return split(layer.qkv, layer.key_dim, layer.key_dim, layer.value_dim)
    return [*split(layer.q, layer.key_dim), *split(layer.kv, layer.key_dim, layer.value_dim)]


def _constant(array: np.ndarray, x, name: str):
    """Adds a constant (1, ...) to the graph of `x`, as the only row of an Embedding.

    A plain constant would be written to the `.keras` file as text, and Keras' layers that add a
    bias also multiply by a kernel. Looking up row 0 costs one copy of the constant per batch, and
    converters fold it away.
    """
    row = ops.zeros_like(x[:1, 0, 0, 0], dtype="int32")  # (1,), always 0
    look_up = keras.layers.Embedding(1, array.size, dtype="float32", name=name)
    constant = _with_weights(look_up, row, array.reshape(1, -1))  # (1, size)
    return keras.layers.Reshape(array.shape, name=f"{name}_reshape")(constant)  # (1, ...)


def _head_affine(head: levit_layers.BNDense) -> tuple[np.ndarray, np.ndarray]:
    """Returns float64 (kernel, bias) of one Dense equal to the BatchNorm and Dense of a head."""
    scale, shift = _batch_norm_affine(head.bn)
    kernel, bias = head.linear.get_weights()
    return kernel * scale[:, None], bias + shift @ kernel


def _classifier(layer: levit_layers.Classifier, x):
    def dense(x, kernel, bias, name):
        layer = keras.layers.Dense(kernel.shape[1], dtype="float32", name=name)
        return _with_weights(layer, x, kernel, bias)

    heads = [_head_affine(layer.head)]
    if layer.head_dist is not None:
        heads.append(_head_affine(layer.head_dist))
    if layer.heads == "both":
        return {
            head.name: dense(x, *affine, head.name)
            for head, affine in zip((layer.head, layer.head_dist), heads, strict=True)
        }
    kernel, bias = (sum(parts) / len(heads) for parts in zip(*heads, strict=True))
    return dense(x, kernel, bias, layer.name)


_REWRITES = {
    levit_layers.ConvBN: _conv_bn,
    levit_layers.DenseBN: lambda layer, x: _dense_bn(layer, x, layer.name),
    levit_layers.MLP: _mlp,
    Attention: _attention,
    levit_layers.DropPath: lambda layer, x: x,
    levit_layers.Classifier: _classifier,
}
