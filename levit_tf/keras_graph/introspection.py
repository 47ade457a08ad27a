"""Derives variant, classes, heads and input size from a Keras LeViT."""

from __future__ import annotations

import dataclasses

import keras

from levit_tf.attention import Attention
from levit_tf.layers import Classifier, ConvBN
from levit_tf.names import CLASSIFIER, stage_name
from levit_tf.variants import STAGES, Variant, get_variant, list_variants

# Fields that do not appear in weights or graph, or can be chosen freely when a model is built.
_FREE_FIELDS = ("name", "drop_path_rate", "input_size", "published")


def variant_of(model: keras.Model) -> Variant:
    """Returns the variant that a LeViT in train form was built from.

    Args:
      model: a model with layers named as in `levit_tf.LeViT`.

    Returns:
      The matching entry of the table, or else a `Variant` with the model's name and dimensions.

    Raises:
      ValueError: `model` is not a LeViT in train form; the message names a missing layer.
    """
    stems = _count(model, "stem_conv{}", ConvBN, first=1)
    depth = tuple(
        _count(model, f"{stage_name(stage)}_blocks_{{}}_attn", Attention) for stage in range(STAGES)
    )
    blocks = [model.get_layer(f"{stage_name(stage)}_blocks_0_attn") for stage in range(STAGES)]
    downsample = _layer(model, f"{stage_name(1)}_downsample_attn", Attention)
    mlp = model.get_layer(f"{stage_name(0)}_blocks_0_mlp")
    found = Variant(
        name=model.name,
        embed_dim=tuple(block.output_dim for block in blocks),
        key_dim=blocks[0].key_dim,
        num_heads=tuple(block.num_heads for block in blocks),
        depth=depth,
        stem_convs=stems,
        activation=keras.activations.serialize(blocks[0].activation),
        attn_ratio=blocks[0].value_dim // blocks[0].key_dim,
        downsample_attn_ratio=downsample.value_dim // downsample.key_dim,
        mlp_ratio=mlp.hidden_dim // mlp.output_dim,
    )
    for name in list_variants():
        known = get_variant(name)
        free = {field: getattr(known, field) for field in _FREE_FIELDS}
        if dataclasses.replace(found, **free) == known:
            return known
    return found


def classifier_of(model: keras.Model) -> Classifier | None:
    """Returns the layer with the classification heads; None for a model without the top."""
    names = {layer.name for layer in model.layers}
    return model.get_layer(CLASSIFIER) if CLASSIFIER in names else None


def grids_of(model: keras.Model) -> list[tuple[int, int]]:
    """Returns the token grid (height, width) of each stage's bias tables.

    Raises:
      ValueError: `model` is not a LeViT in train form.
    """
    return [
        _layer(model, f"{stage_name(stage)}_blocks_0_attn", Attention).table_grid
        for stage in range(STAGES)
    ]


def _layer(model: keras.Model, name: str, kind: type) -> keras.layers.Layer:
    found = next((layer for layer in model.layers if layer.name == name), None)
    if not isinstance(found, kind):
        raise ValueError(
            f"Model {model.name!r} is not a LeViT in train form: it has no {kind.__name__} layer "
            f"named {name!r}. A fused model, or one of another kind, has no weights to match by "
            "name."
        )
    return found


def _count(model: keras.Model, pattern: str, kind: type, first: int = 0) -> int:
    """Counts the layers named by `pattern`, numbered from `first`; raises if there are none."""
    _layer(model, pattern.format(first), kind)
    names = {layer.name for layer in model.layers}
    count = 1
    while pattern.format(first + count) in names:
        count += 1
    return count
