"""RegNetY, the convolutional teacher network of LeViT.

LeViT is distilled from RegNetY-16GF (paper, section 4.2; the checkpoint is DeiT's). A teacher only
predicts, so the models here are frozen: BatchNorm uses its moving statistics, and nothing is
trainable. They consist of built-in layers only, so that a saved model loads with Keras alone, and
are fully convolutional, so that one file can be used for every image size.

Layers are named as timm's modules with underscores for dots; see `regnet_weights`.

Source: "Designing Network Design Spaces", arXiv 2003.13678; timm/models/regnet.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from levit_tf.keras_graph.front import input_range_texts
from levit_tf.keras_graph.notes import INPUT, note_layer
from levit_tf.layers import BATCH_NORM_EPSILON
from levit_tf.teachers.regnet_weights import (
    FIRST_KEY,
    load_keras_weights,
    pytorch_key,
)
from levit_tf.teachers.state_dicts import load_state_dict
from levit_tf.weights.checkpoint_wrappers import without_prefix

CHANNEL_QUANTUM = 8  # every width is a multiple of this, before it is fitted to the group width
PRE_LOGITS = "pre_logits"
HEAD = "head_fc"

IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class RegNetConfig:
    """Parameters of a RegNetY (paper, section 3.3): block j has about w0 + wa j channels.

    Attributes:
      name: Keras model name, timm's.
      depth: number of blocks, d.
      initial_width: channels w0 at j = 0, a multiple of 8.
      slope: channels wa that each block adds.
      multiplier: wm; widths are rounded to w0 times an integer power of wm, which forms the stages.
      group_width: channels g of one group in the 3x3 convolutions.
      se_ratio: squeezed channels of a block, relative to the block's input.
      stem_width: channels of the stem.
    """

    name: str
    depth: int
    initial_width: int
    slope: float
    multiplier: float
    group_width: int
    se_ratio: float = 0.25
    stem_width: int = 32

    def __post_init__(self) -> None:
        valid = (
            self.depth >= 1
            and self.initial_width >= CHANNEL_QUANTUM
            and self.initial_width % CHANNEL_QUANTUM == 0
            and self.slope >= 0
            and self.multiplier > 1
            and self.group_width >= 1
        )
        if not valid:
            raise ValueError(
                "A RegNet needs depth >= 1, slope >= 0, multiplier > 1, group_width >= 1, and an "
                f"initial_width that is a positive multiple of {CHANNEL_QUANTUM}. Received: {self}"
            )

    def _stages(self) -> list[tuple[int, int]]:
        """Returns (width, blocks) of each stage: consecutive blocks with the same rounded width."""
        widths = []
        for block in range(self.depth):
            linear = self.initial_width + self.slope * block
            power = round(math.log(linear / self.initial_width) / math.log(self.multiplier))
            width = self.initial_width * self.multiplier**power
            widths.append(round(width / CHANNEL_QUANTUM) * CHANNEL_QUANTUM)
        return [(width, len(list(blocks))) for width, blocks in itertools.groupby(widths)]

    @property
    def depths(self) -> list[int]:
        """Number of blocks in each stage."""
        return [blocks for _, blocks in self._stages()]

    @property
    def widths(self) -> list[int]:
        """Number of channels of each stage, a multiple of the group width."""
        found = []
        for width, _ in self._stages():
            group = min(self.group_width, width)
            found.append(round(width / group) * group)
        return found


REGNETY_160 = RegNetConfig("regnety_160", 18, 200, 106.23, 2.48, 112)
# For tests: four stages of unequal depth, with widths that must be fitted to the group width.
REGNETY_TINY = RegNetConfig("regnety_tiny", 6, 8, 8.0, 2.0, 12, stem_width=8)
REGNETS = {config.name: config for config in (REGNETY_160, REGNETY_TINY)}


def RegNetY(  # noqa: N802, named as the functions of keras.applications are
    config: RegNetConfig,
    input_shape: Sequence[int | None] = (224, 224, 3),
    classes: int = IMAGENET_CLASSES,
    weights: str | os.PathLike | None = None,
) -> keras.Model:
    """Builds a frozen RegNetY for normalised pixels, see `levit_tf.preprocess_input`.

    Args:
      config: its dimensions.
      input_shape: (height, width, channels); height and width may be None for images of any size.
      classes: number of classes.
      weights: a `.keras` or `.weights.h5` file of this network; None for random weights.

    Returns:
      A `keras.Model` from images (batch, height, width, channels) to logits (batch, classes),
      without trainable variables. The layers "s1" to "s4" return feature maps at strides 4 to 32;
      "pre_logits" returns the spatial mean of the last one.

    Raises:
      FileNotFoundError: there is no file `weights`.
      ValueError: an argument is not valid, or the file does not fit.
    """
    shape = tuple(input_shape)
    sides_valid = all(side is None or (isinstance(side, int) and side > 0) for side in shape[:2])
    if len(shape) != 3 or not sides_valid or not isinstance(shape[2], int) or shape[2] < 1:
        raise ValueError(
            "input_shape must be (height, width, channels), positive integers; height and width "
            f"may be None for any size. Received: {input_shape!r}"
        )
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"classes must be a positive integer. Received: {classes!r}")

    images = keras.Input(shape, name="images")
    # The channel counts that `preprocess_input` accepts.
    known = input_range_texts("normalized", shape[2]) if shape[2] in (1, 3) else ()
    x = note_layer(INPUT, known)(images)
    x = _conv_bn(x, config.stem_width, "stem", kernel_size=3, strides=2)
    for stage, (width, blocks) in enumerate(zip(config.widths, config.depths, strict=True), 1):
        for block in range(1, blocks + 1):
            x = _block(config, x, width, 2 if block == 1 else 1, f"s{stage}_b{block}")
        x = keras.layers.Identity(name=f"s{stage}")(x)
    # (batch, height, width, channels) -> (batch, channels)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name=PRE_LOGITS)(x)
    # float32, so that mixed precision does not round the logits.
    x = keras.layers.Dense(classes, dtype="float32", name=HEAD)(x)
    model = keras.Model(images, x, name=config.name)
    model.trainable = False
    if weights is not None:
        load_keras_weights(model, weights)
    return model


def regnet_from_state_dict(
    config: RegNetConfig,
    state: Mapping[str, np.ndarray],
    input_shape: Sequence[int | None] = (None, None, 3),
    source: str = "the state dict",
) -> keras.Model:
    """Builds a RegNetY with the weights and the number of classes of a timm checkpoint.

    Args:
      config: the expected dimensions.
      state: arrays by timm's keys, with or without a prefix such as "module."; see
        `levit_tf.weights.checkpoint_files.read_checkpoint`.
      input_shape: see `RegNetY`.
      source: origin of the arrays, for error messages.

    Returns:
      A model as built by `RegNetY`.

    Raises:
      ValueError: arrays are missing, unexpected or of another shape; all of them are listed.
    """
    state, _ = without_prefix(state, FIRST_KEY)
    head = state.get(pytorch_key(f"{HEAD}/kernel"))
    classes = head.shape[0] if head is not None and head.ndim == 2 else IMAGENET_CLASSES
    model = RegNetY(config, input_shape, classes)
    complaint = f"{source} does not fit {config.name} as timm names it"
    load_state_dict(model, state, complaint, pytorch_key)
    return model


def _block(config: RegNetConfig, x, width: int, strides: int, name: str):
    """The paper's Y block: 1x1, grouped 3x3, squeeze-excite, 1x1, and the shortcut (figure 4)."""
    channels = x.shape[-1]
    shortcut = x
    if channels != width or strides != 1:
        shortcut = _conv_bn(x, width, f"{name}_downsample", strides=strides, activation=None)
    groups = width // min(config.group_width, width)
    x = _conv_bn(x, width, f"{name}_conv1")
    x = _conv_bn(x, width, f"{name}_conv2", kernel_size=3, strides=strides, groups=groups)
    # The ratio is relative to the input channels of the block, not to those that are squeezed.
    x = _squeeze_excite(x, round(channels * config.se_ratio), f"{name}_se")
    x = _conv_bn(x, width, f"{name}_conv3", activation=None)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.Activation("relu", name=f"{name}_act3")(x)


def _conv_bn(x, filters: int, name: str, kernel_size=1, strides=1, groups=1, activation="relu"):
    """Convolution without bias, BatchNorm, activation: timm's ConvNormAct."""
    if kernel_size > 1:
        # At stride 2, "same" would pad only at the bottom and the right; the reference pads all
        # four sides.
        x = keras.layers.ZeroPadding2D(
            kernel_size // 2, data_format="channels_last", name=f"{name}_pad"
        )(x)
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        groups=groups,
        use_bias=False,
        data_format="channels_last",
        name=f"{name}_conv",
    )(x)
    x = keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn")(x)
    return x if activation is None else keras.layers.Activation(activation, name=f"{name}_act")(x)


def _squeeze_excite(x, squeezed: int, name: str):
    """Scales each channel by a gate that is computed from the means of all channels."""
    # (batch, height, width, channels) -> (batch, 1, 1, channels)
    gate = keras.layers.GlobalAveragePooling2D(
        data_format="channels_last", keepdims=True, name=f"{name}_pool"
    )(x)
    for layer, filters, activation in (("fc1", squeezed, "relu"), ("fc2", x.shape[-1], "sigmoid")):
        gate = keras.layers.Conv2D(
            filters, 1, data_format="channels_last", activation=activation, name=f"{name}_{layer}"
        )(gate)
    return keras.layers.Multiply(name=f"{name}_scale")([x, gate])
