"""Exits of one LeViT: branches that classify from the feature map of an early stage.

Sources: arXiv 2106.15183 for exit branches, and 2105.09121 for an attention layer as a branch.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras

from levit_common.choices import EXIT_KINDS
from levit_tf.attention import Attention
from levit_tf.keras_graph.introspection import classifier_of, variant_of
from levit_tf.keras_graph.notes import CLASSES, note_layer
from levit_tf.keras_graph.properties import class_name_texts, model_properties
from levit_tf.layers import MLP, Classifier
from levit_tf.model import average_pool
from levit_tf.names import (
    EXIT_PREFIX,
    WHOLE,
    exit_features,
    exit_name,
    exit_names,
    exit_place,
)
from levit_tf.variants import STAGE_STRIDE, STAGES, Variant


def add_exits(model: keras.Model, kinds: Mapping[int | str, str] | None = None) -> keras.Model:
    """Adds newly initialised exits to a LeViT; the new model shares all layers of the old one.

    Args:
      model: a LeViT in train form, with its top.
      kinds: stage (0 or 1) or block ("0.1") -> kind of the branch after it, one of
        `levit_common.choices.EXIT_KINDS`: "pool" is the mean over the tokens, BatchNorm and a dense
        layer; "attention" puts a subsampling attention of LeViT and an MLP before these. By default
        "attention" after stage 0 and "pool" after stage 1.

    Returns:
      A model with the same input and a dictionary of logits, (batch, classes) each: "exits_0",
      "exits_1" ("exits_0_1" after a block) and "head" for the whole network, whose logits are
      bit-identical to those of `model`.

    Raises:
      ValueError: `model` is not a LeViT in train form with a top, or there is no such stage, block
        or kind.
    """
    kinds = {0: "attention", 1: "pool"} if kinds is None else dict(kinds)
    variant, classifier = variant_of(model), classifier_of(model)
    if classifier is None:
        raise ValueError(f"Model {model.name!r} has no classification heads to exit to.")
    outputs = {}
    places = {exit_name(place): kind for place, kind in kinds.items()}
    for name in exit_names(places):
        stage, block = exit_place(name)
        blocks = variant.depth[stage] if stage in range(STAGES - 1) else 0
        if not blocks or places[name] not in EXIT_KINDS or (block or 0) >= blocks:
            raise ValueError(
                f"exits of {variant.name} are behind stage 0 or 1, or a block of theirs, such as "
                f"'0.{variant.depth[0] - 1}', each with one of {', '.join(EXIT_KINDS)}. Received: "
                f"{kinds}"
            )
        features = model.get_layer(exit_features(name)).output
        outputs[name] = _branch(variant, features, name, places[name], classifier.classes)
    logits = classifier.output
    if classifier.heads == "both":
        logits = keras.layers.Average(name="mean_of_heads")(keras.tree.flatten(logits))
    if names := model_properties(model).class_names:
        logits = note_layer(CLASSES, class_name_texts(names))(logits)
    return keras.Model(model.input, {**outputs, WHOLE: logits}, name=f"{model.name}_exits")


def exit_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of the branches, which are trained while the network stays unchanged."""
    return [layer for layer in model.layers if layer.name.startswith(EXIT_PREFIX)]


def _branch(variant: Variant, x: keras.KerasTensor, name: str, kind: str, classes: int):
    """Builds an exit branch: (batch, height, width, channels) -> (batch, classes)."""
    stage, _ = exit_place(name)
    if kind == "attention":
        dim = variant.embed_dim[stage + 1]
        x = Attention(
            num_heads=variant.downsample_num_heads(stage + 1),
            key_dim=variant.key_dim,
            value_dim=variant.downsample_attn_ratio * variant.key_dim,
            output_dim=dim,
            stride=STAGE_STRIDE,
            activation=variant.activation,
            name=f"{name}_attn",
        )(x)
        mlp = MLP(variant.mlp_ratio * dim, dim, variant.activation, name=f"{name}_mlp")
        x = keras.layers.Add(name=f"{name}_mlp_add")([x, mlp(x)])
    x = average_pool(x, name=f"{name}_pool")
    return Classifier(classes, "single", name=name)(x)
