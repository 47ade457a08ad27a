"""A PyTorch RegNetY checkpoint, DeiT's or timm's, to a Keras model: the teacher for distillation.

    python -m converters.from_pytorch_regnet --checkpoint=regnety_160-a5fe301d.pth \
        --output=regnety_160.keras

The model takes normalised pixels of any image size and returns logits. Safetensors need no torch;
`.pth` and `.bin` need the `torch` extra and are never allowed to run code.
"""

from __future__ import annotations

import os

import keras
from absl import flags

from converters import cli
from levit_common.files import atomic_path
from levit_tf.teachers.regnet import REGNETS, REGNETY_160, RegNetConfig, regnet_from_state_dict
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
    if not output.endswith(".keras"):
        raise ValueError(f"--output: expected a file name ending in .keras. Received: {output!r}")
    with atomic_path(output, overwrite) as temporary:
        state = read_checkpoint(checkpoint, checkpoint_key)
        for note in (*state.notes, *without_prefix(state, FIRST_KEY)[1]):
            print(f"checkpoint: {note}")
        model = regnet_from_state_dict(config, state, source=os.fspath(checkpoint))
        model.save(temporary)
    return model


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    model = convert(
        args.checkpoint,
        args.output,
        config=REGNETS[args.model],
        checkpoint_key=args.checkpoint_key,
        overwrite=args.overwrite,
    )
    print(f"copied: {len(model.weights)} variables, {model.output.shape[-1]} classes")
    print(f"written: {args.output}")


def define_flags() -> None:
    flags.DEFINE_string("checkpoint", None, "PyTorch checkpoint: .safetensors, .pth, .pt, .bin.")
    flags.DEFINE_string("output", None, "Keras file to write, ending in .keras.")
    flags.DEFINE_enum("model", REGNETY_160.name, list(REGNETS), "Which RegNetY it is.")
    flags.DEFINE_string("checkpoint_key", None, "Of a file with several: model_ema, for instance.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing output.")
    flags.mark_flags_as_required(["checkpoint", "output"])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
