"""Parameters and FLOPs of the variants, beside the paper's figures."""

from __future__ import annotations

import math
from collections.abc import Iterable

import keras

from levit_tf.attention import Attention
from levit_tf.layers import MLP, Classifier, ConvBN
from levit_tf.markdown import markdown_table
from levit_tf.model import LeViT
from levit_tf.variants import Variant, get_variant, list_variants


def count_flops(model: keras.Model) -> int:
    """Multiply-adds of one image, counted as the official code does (FLOPS_COUNTER in levit.py).

    Counted are convolutions, linear layers, both matrix products of attention and one operation
    for each of its softmax's elements; BatchNorm, activations and additions are free.

    Args:
      model: a LeViT in train form.
    """
    return sum(_layer_flops(layer) for layer in model.layers)


def _layer_flops(layer: keras.layers.Layer) -> int:
    if isinstance(layer, ConvBN):
        return math.prod(layer.output.shape[1:3]) * _kernel_size(layer)
    if isinstance(layer, MLP):
        points = math.prod(layer.output.shape[1:3])
        return points * (_kernel_size(layer.ln1) + _kernel_size(layer.ln2))
    if isinstance(layer, Attention):
        keys, queries = math.prod(layer.grid), math.prod(layer.output_grid)
        products = layer.num_heads * queries * keys * (layer.key_dim + 1 + layer.value_dim)
        if layer.stride == 1:
            projections = keys * _kernel_size(layer.qkv)
        else:
            projections = keys * _kernel_size(layer.kv) + queries * _kernel_size(layer.q)
        return products + projections + queries * _kernel_size(layer.proj)
    if isinstance(layer, Classifier):
        return sum(_kernel_size(head) for head in (layer.head, layer.head_dist) if head)
    return 0


def _kernel_size(projection: keras.layers.Layer) -> int:
    return math.prod(projection.linear.kernel.shape)


def summary_table(variants: Iterable[str | Variant] | None = None) -> str:
    """A Markdown table: parameters and FLOPs of each variant as built, and the paper's figures.

    Args:
      variants: which; all of `list_variants()` by default, which builds every model once.

    Returns:
      The table. Top-1, and what stands in brackets, are the paper's figures (ImageNet-1k,
      224x224); "-" where the paper has none.
    """
    rows = [
        ("variant", "input", "parameters", "(paper)", "FLOPs", "(paper)", "top-1 (paper)"),
    ]
    for name in list_variants() if variants is None else variants:
        variant = get_variant(name)
        model = LeViT(variant)
        side = variant.input_size
        paper = variant.published
        figures = (
            (f"{paper.params:g} M", f"{paper.flops} M", f"{paper.top1:.1f} %")
            if paper
            else ("-", "-", "-")
        )
        rows.append(
            (
                *(variant.name, f"{side}x{side}", f"{model.count_params():,}", figures[0]),
                *(f"{count_flops(model) / 1e6:,.0f} M", *figures[1:]),
            )
        )
    return markdown_table(rows)
