"""Changes what follows the backbone: named feature maps, new classes, another use of the heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral

import keras

from levit_lite.class_names import check_class_names
from levit_tf.keras_graph.introspection import classifier_of, variant_of
from levit_tf.keras_graph.properties import model_properties
from levit_tf.model import average_pool, classification_top
from levit_tf.names import STEM, stage_name
from levit_tf.variants import STAGES


def feature_extractor(model: keras.Model) -> keras.Model:
    """Returns a model whose outputs are the named feature maps of a LeViT; it shares the layers.

    Args:
      model: a LeViT in train or deploy form, with or without the top.

    Returns:
      A model with the same input and a dictionary of outputs, each (batch, height, width,
      channels): "stem" and "stages_0" at the stem's stride of 16 pixels per token, "stages_1" at
      32 and "stages_2" at 64 (8, 16 and 32 in the stride-8 variants).

    Raises:
      ValueError: `model` has no layers of these names.
    """
    outputs = {}
    for name in (STEM, *map(stage_name, range(STAGES))):
        try:
            outputs[name] = model.get_layer(name).output
        except ValueError as error:
            raise ValueError(
                f"Model {model.name!r} is no LeViT: it has no layer {name!r}."
            ) from error
    return keras.Model(model.input, outputs, name=f"{model.name}_features")


def reset_classifier(
    model: keras.Model,
    classes: int | Sequence[str],
    heads: str | None = None,
    classifier_activation: str | Callable | None = "softmax",
) -> keras.Model:
    """Puts newly initialised heads on a LeViT; the new model shares all layers below them.

    Args:
      model: a LeViT in train form, with or without the top.
      classes: number of classes, at least 1; or the class names, which the model then stores.
      heads: "average", "both" or "single"; None for the heads of `model`, or for "average" if it
        has no top.
      classifier_activation: as in `levit_tf.LeViT`; heads="both" always returns logits.

    Returns:
      A new model.

    Raises:
      ValueError: an argument is not valid, or `model` is not a LeViT in train form.
    """
    variant_of(model)  # raises if it is not a LeViT in train form
    if isinstance(classes, str):
        raise ValueError(
            f"classes: expected a number or a list of names. Received the text {classes!r}; "
            "levit_lite.class_names.read_labels reads the names in a file."
        )
    names = () if isinstance(classes, Integral) else list(classes)
    if names:
        classes = len(check_class_names(names, len(names), "classes"))
    old = classifier_of(model)
    heads = heads or (old.heads if old is not None else "average")
    outputs = classification_top(
        pooled_features(model), classes, heads, classifier_activation, names
    )
    return keras.Model(model.input, outputs, name=model.name)


def pooled_features(model: keras.Model) -> keras.KerasTensor:
    """Returns the input of a LeViT's heads, (batch, channels), whether the model has a top or not.

    Args:
      model: a LeViT in train form.
    """
    classifier = classifier_of(model)
    if classifier is not None:
        return classifier.input
    return average_pool(model.output) if len(model.output.shape) == 4 else model.output


def with_heads(
    model: keras.Model, heads: str, classifier_activation: str | Callable | None = "softmax"
) -> keras.Model:
    """Returns the same LeViT with its trained heads used in another way.

    For example, `with_heads(model, "average")` turns a network trained with `heads="both"` into one
    for inference. The new model shares the layers below the heads; the heads are copied.

    Args:
      model: a LeViT in train form, with its top.
      heads: "average", "both", or "single", which keeps only the class head.
      classifier_activation: as in `levit_tf.LeViT`; heads="both" always returns logits.

    Returns:
      A new model.

    Raises:
      ValueError: two heads are requested but `model` has one, or it has no top, or it is not a
        LeViT in train form.
    """
    variant_of(model)  # raises if it is not a LeViT in train form
    old = classifier_of(model)
    if old is None:
        raise ValueError(
            f"Model {model.name!r} has no classification heads; reset_classifier() adds them."
        )
    if old.head_dist is None and heads != "single":
        raise ValueError(
            f"Model {model.name!r} has no distillation head, and heads={heads!r} needs one; "
            "reset_classifier() makes new heads."
        )
    names = model_properties(model).class_names
    new_model = reset_classifier(model, names or old.classes, heads, classifier_activation)
    new = classifier_of(new_model)
    new.head.set_weights(old.head.get_weights())
    if new.head_dist is not None:
        new.head_dist.set_weights(old.head_dist.get_weights())
    return new_model
