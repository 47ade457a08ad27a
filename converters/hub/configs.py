"""Configuration files that timm and transformers read in addition to the weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from levit_lite.cropping import cover
from levit_tf.preprocessing import InputRange
from levit_tf.variants import Variant

# Variants that also exist in timm with the same dimensions.
_TIMM = re.compile(r"LeViT(\d+)(S8|S|D)?")
# Architectures that timm always builds with one head: they take no `distilled` argument.
_ONE_HEAD = ("levit_512", "levit_512_s8", "levit_256d", "levit_512d")


def timm_architecture(variant: Variant) -> str | None:
    """Returns timm's name of a variant; None if timm does not have it."""
    match = _TIMM.fullmatch(variant.name)
    if match is None:
        return None
    suffix = {"S8": "_s8", "S": "s", "D": "d", None: ""}[match[2]]
    return f"levit_{match[1]}{suffix}"


def timm_config(
    variant: Variant,
    size: tuple[int, int, int],
    classes: int,
    class_names: Sequence[str] | None,
    input_range: InputRange,
    distilled: bool,
) -> dict[str, Any]:
    """Returns the content of config.json in timm's format.

    Args:
      variant: a variant that timm has.
      size: (height, width, channels) of the input.
      classes: number of classes.
      class_names: class names in the order of the outputs; None if they are not known.
      input_range: range of the input values.
      distilled: whether there are two heads.

    Raises:
      ValueError: there are two heads, and timm builds this variant with one.
    """
    architecture = timm_architecture(variant)
    if distilled and architecture in _ONE_HEAD:
        raise ValueError(
            f"timm builds {architecture} with one head, and this {variant.name} has two. Give "
            'levit_tf.with_heads(model, "single"), which keeps the class head.'
        )
    height, width, channels = size
    config = {
        "architecture": architecture,
        "num_classes": classes,
        "num_features": variant.embed_dim[-1],
        "global_pool": "avg",
        "pretrained_cfg": {
            "num_classes": classes,
            "input_size": [channels, height, width],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": height / cover(height, width)[0],
            "mean": list(input_range.mean),
            "std": list(input_range.std),
            "first_conv": "stem.conv1.linear",
            "classifier": ["head.linear", "head_dist.linear"] if distilled else "head.linear",
        },
    }
    if not distilled and architecture not in _ONE_HEAD:  # timm's default is two
        config["model_args"] = {"distilled": False}
    if class_names:
        config["label_names"] = list(class_names)
    return config


def transformers_configs(
    variant: Variant,
    size: tuple[int, int, int],
    classes: int,
    class_names: Sequence[str] | None,
    input_range: InputRange,
    distilled: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the contents of config.json and preprocessor_config.json in transformers' format.

    Args:
      variant: a variant with four stem convolutions and hard-swish.
      size: (height, width, channels) of the input, which is square.
      classes: see `timm_config`.
      class_names: see `timm_config`.
      input_range: see `timm_config`.
      distilled: whether there are two heads.

    The drop path rate, which only matters in training, is left out, because transformers 5.23
    accepts only integers for it.
    """
    height, _, channels = size
    names = class_names or [f"LABEL_{n}" for n in range(classes)]
    kind = "LevitForImageClassificationWithTeacher" if distilled else "LevitForImageClassification"
    config = {
        "architectures": [kind],
        "model_type": "levit",
        "image_size": height,
        "num_channels": channels,
        "kernel_size": 3,
        "stride": 2,
        "padding": 1,
        "patch_size": 16,
        "hidden_sizes": list(variant.embed_dim),
        "num_attention_heads": list(variant.num_heads),
        "depths": list(variant.depth),
        "key_dim": [variant.key_dim] * 3,
        "mlp_ratio": [variant.mlp_ratio] * 3,
        "attention_ratio": [variant.attn_ratio] * 3,
        "id2label": {str(n): name for n, name in enumerate(names)},
        "label2id": {name: n for n, name in enumerate(names)},
    }
    preprocessor = {
        "image_processor_type": "LevitImageProcessor",
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"shortest_edge": height},
        "crop_size": {"height": height, "width": height},
        "resample": 3,
        "rescale_factor": 1 / 255,
        "image_mean": list(input_range.mean),
        "image_std": list(input_range.std),
    }
    return config, preprocessor
