"""Converts PyTorch checkpoints of teachers to Keras models.

The commands are `python -m converters.from_pytorch_regnet` and
`python -m converters.from_pytorch_efficientnet_lite`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import keras

from levit_common.files import atomic_path, check_suffix
from levit_tf.teachers import efficientnet_lite, regnet_weights
from levit_tf.teachers.efficientnet_lite import (
    EfficientNetLiteConfig,
    efficientnet_lite_from_state_dict,
)
from levit_tf.teachers.regnet import REGNETY_160, RegNetConfig, regnet_from_state_dict
from levit_tf.weights.checkpoint_files import Checkpoint, read_checkpoint
from levit_tf.weights.checkpoint_wrappers import without_prefix


def convert_regnet(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    config: RegNetConfig = REGNETY_160,
    checkpoint_key: str | None = None,
    overwrite: bool = False,
) -> keras.Model:
    """Writes the Keras model of a PyTorch RegNetY checkpoint.

    Args:
      checkpoint: a `.safetensors`, `.pth`, `.pt` or `.bin` file.
      output: the `.keras` file to write.
      config: the expected dimensions.
      checkpoint_key: key of the state dict in a file that holds several, such as "model_ema"; by
        default the trained weights. The choice is printed.
      overwrite: whether an existing `output` is replaced.

    Returns:
      The model that was written, for images of any size.

    Raises:
      FileExistsError: `output` exists and `overwrite` is false.
      ValueError: the checkpoint cannot be read, or does not fit. Nothing is written then.
    """

    def build(state):
        return regnet_from_state_dict(config, state, source=os.fspath(checkpoint))

    first = regnet_weights.FIRST_KEY
    return _convert(checkpoint, output, build, first, checkpoint_key, overwrite)


def convert_efficientnet_lite(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    config: EfficientNetLiteConfig | None = None,
    input_size: tuple[int, int] | None = None,
    checkpoint_key: str | None = None,
    overwrite: bool = False,
) -> keras.Model:
    """Writes the Keras model of a PyTorch EfficientNet-Lite checkpoint.

    Args:
      checkpoint: see `convert_regnet`.
      output: see `convert_regnet`.
      config: expected dimensions; None to find them from the checkpoint's blocks and channels.
      input_size: (height, width) of the images, pixels; None for the training size.
      checkpoint_key: see `convert_regnet`.
      overwrite: see `convert_regnet`.

    Returns:
      The model that was written.

    Raises:
      FileExistsError: `output` exists and `overwrite` is false.
      ValueError: the checkpoint cannot be read, or does not fit. Nothing is written then.
    """

    def build(state):
        shape = input_size and (*input_size, 3)
        return efficientnet_lite_from_state_dict(state, shape, config, os.fspath(checkpoint))

    first = efficientnet_lite.FIRST_KEY
    return _convert(checkpoint, output, build, first, checkpoint_key, overwrite)


def _convert(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    build: Callable[[Checkpoint], keras.Model],
    first_key: str,
    checkpoint_key: str | None,
    overwrite: bool,
) -> keras.Model:
    output = os.fspath(output)
    check_suffix(output, ".keras")
    with atomic_path(output, overwrite) as temporary:
        state = read_checkpoint(checkpoint, checkpoint_key)
        for note in (*state.notes, *without_prefix(state, first_key)[1]):
            print(f"checkpoint: {note}")
        model = build(state)
        model.save(temporary)
    return model
