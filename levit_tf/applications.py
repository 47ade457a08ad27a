"""`LeViT128S` to `LeViT384`: the paper's variants with the signature of keras.applications."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import keras

from levit_tf.model import LeViT
from levit_tf.variants import get_variant


def _application(variant_name: str) -> Callable[..., keras.Model]:
    variant = get_variant(variant_name)

    def application(
        include_top: bool = True,
        weights: str | os.PathLike | None = "imagenet",
        input_tensor: keras.KerasTensor | None = None,
        input_shape: Sequence[int] | int | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: str | Callable | None = "softmax",
        heads: str = "average",
        drop_path_rate: float | None = None,
        name: str = variant_name,
    ) -> keras.Model:
        return LeViT(
            variant,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            heads=heads,
            drop_path_rate=drop_path_rate,
            name=name,
        )

    published = variant.published
    application.__name__ = application.__qualname__ = variant_name
    application.__doc__ = (
        f"Instantiates {variant_name}: {published.top1} % ImageNet top-1, {published.params:g} M "
        f"parameters, {published.flops} M FLOPs (figures of the paper).\n\n"
        "The arguments are those of `levit_tf.LeViT`, with the released ImageNet weights by "
        "default.\nInputs are pixels normalised by `levit_tf.preprocess_input`.\n"
    )
    return application


LeViT128S = _application("LeViT128S")
LeViT128 = _application("LeViT128")
LeViT192 = _application("LeViT192")
LeViT256 = _application("LeViT256")
LeViT384 = _application("LeViT384")
