"""Converts a PyTorch LeViT checkpoint to a Keras model: official, timm or Hugging Face.

    python -m converters.from_pytorch --checkpoint=LeViT-256-13b5763e.pth --output=levit256.keras
    python -m converters.from_pytorch --checkpoint=hf://facebook/levit-256 --output=levit256.keras

The codebase that wrote the checkpoint and the variant are recognised, also in checkpoints of
training scripts: prefixes such as `module.` are removed, and if the file holds several networks,
the trained one or that of --checkpoint_key is used. The command prints what it did.

Safetensors files need no torch; `.pth` and `.bin` files need the `torch` extra and are never
allowed to run code.
"""

from __future__ import annotations

from absl import flags

from levit_common import cli
from levit_common.choices import HEADS, PYTORCH_FILES
from levit_common.files import check_exists, check_new, check_suffix
from levit_common.hub_addresses import is_hub_address, parse_address
from levit_common.lazy import lazy_names

__getattr__ = lazy_names(__name__, convert="converters.pytorch.to_keras")


def main() -> None:
    from converters.pytorch.to_keras import convert
    from levit_lite.class_names import read_labels

    args = flags.FLAGS
    report = convert(
        args.checkpoint,
        args.output,
        model=args.model,
        input_size=_size(args.input_size),
        checkpoint_size=_size(args.checkpoint_size),
        checkpoint_key=args.checkpoint_key,
        classes=args.classes,
        heads=args.heads,
        class_names=args.labels and read_labels(args.labels),
        overwrite=args.overwrite,
    )
    print(report)
    print(f"written: {args.output}")


def _size(text: str | None) -> tuple[int, int] | None:
    return None if text is None else cli.parse_size(text)


def define_flags() -> None:
    flags.DEFINE_string(
        "checkpoint", None, f"PyTorch checkpoint: {', '.join(PYTORCH_FILES)}, or hf://OWNER/NAME."
    )
    flags.DEFINE_string("output", None, "Keras file to write, ending in .keras.")
    flags.DEFINE_string("model", None, "Variant, such as LeViT256; recognised by default.")
    flags.DEFINE_string(
        "input_size",
        None,
        "Input size of the model: HxW or one number; by default that of the checkpoint.",
    )
    flags.DEFINE_string(
        "checkpoint_size",
        None,
        "HxW of the pictures that the checkpoint was trained on, if they are not square.",
    )
    cli.define_checkpoint_key()
    flags.DEFINE_integer(
        "classes", None, "Number of classes; if it is not the checkpoint's, the heads are new."
    )
    flags.DEFINE_enum(
        "heads", None, HEADS, "Heads as in levit_tf.LeViT; by default those of the checkpoint."
    )
    flags.DEFINE_string(
        "labels",
        None,
        "Text file of class names, one per line; by default ImageNet's for 1000 classes.",
    )
    cli.define_overwrite()
    flags.mark_flags_as_required(["checkpoint", "output"])


def check() -> None:
    args = flags.FLAGS
    check_suffix(args.output, ".keras")
    for size in (args.input_size, args.checkpoint_size):
        _size(size)
    if is_hub_address(args.checkpoint):
        parse_address(args.checkpoint)
    else:
        check_exists(args.checkpoint, "a PyTorch checkpoint, or hf://OWNER/NAME")
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
