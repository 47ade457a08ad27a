"""Converts a PyTorch RegNetY checkpoint of DeiT or timm to a Keras model: the distillation teacher.

    python -m converters.from_pytorch_regnet --checkpoint=regnety_160-a5fe301d.pth \\
        --output=regnety_160.keras

The model takes normalised pixels of any image size and returns logits. Safetensors files need no
torch; `.pth` and `.bin` files need the `torch` extra and are never allowed to run code.
"""

from __future__ import annotations

from absl import flags

from levit_common import cli
from levit_common.choices import PYTORCH_FILES, REGNETS
from levit_common.files import check_exists, check_new, check_suffix
from levit_common.lazy import lazy_names

__getattr__ = lazy_names(__name__, convert="converters.pytorch.teachers:convert_regnet")


def main() -> None:
    from converters.pytorch.teachers import convert_regnet
    from levit_tf.teachers.regnet import REGNETS

    args = flags.FLAGS
    model = convert_regnet(
        args.checkpoint,
        args.output,
        config=REGNETS[args.model],
        checkpoint_key=args.checkpoint_key,
        overwrite=args.overwrite,
    )
    print(f"copied: {len(model.weights)} variables, {model.output.shape[-1]} classes")
    print(f"written: {args.output}")


def define_flags() -> None:
    flags.DEFINE_string("checkpoint", None, f"PyTorch checkpoint: {', '.join(PYTORCH_FILES)}.")
    flags.DEFINE_string("output", None, "Keras file to write, ending in .keras.")
    flags.DEFINE_enum("model", REGNETS[0], REGNETS, "RegNetY variant in the checkpoint.")
    cli.define_checkpoint_key()
    cli.define_overwrite()
    flags.mark_flags_as_required(["checkpoint", "output"])


def check() -> None:
    args = flags.FLAGS
    check_suffix(args.output, ".keras")
    check_exists(args.checkpoint, "a PyTorch checkpoint")
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
