"""A PyTorch RegNetY checkpoint to a Keras model, the teacher for distillation.

The command is `python -m converters.from_pytorch_regnet`.
"""

from __future__ import annotations

import os

import keras

from levit_common.files import atomic_path, check_suffix
from levit_tf.teachers.regnet import REGNETY_160, RegNetConfig, regnet_from_state_dict
from levit_tf.teachers.regnet_weights import FIRST_KEY
from levit_tf.weights.checkpoint_files import read_checkpoint
from levit_tf.weights.checkpoint_wrappers import without_prefix


def convert(
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
      config: the dimensions that the checkpoint must have.
      checkpoint_key: which network of a file with several, such as "model_ema"; the trained weights
        by default. What was taken is printed.
      overwrite: whether an existing `output` is replaced.

    Returns:
      The model that was written.

    Raises:
      FileExistsError: `output` exists and `overwrite` is false.
      ValueError: the checkpoint cannot be read, or does not fit. Nothing is written then.
    """
    output = os.fspath(output)
    check_suffix(output, ".keras")
    with atomic_path(output, overwrite) as temporary:
        state = read_checkpoint(checkpoint, checkpoint_key)
        for note in (*state.notes, *without_prefix(state, FIRST_KEY)[1]):
            print(f"checkpoint: {note}")
        model = regnet_from_state_dict(config, state, source=os.fspath(checkpoint))
        model.save(temporary)
    return model
