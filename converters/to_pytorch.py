"""Converts a Keras LeViT to a PyTorch state dict that the codebases load with `strict=True`.

    python -m converters.to_pytorch --model=levit256.keras --output=levit256.pth --format=official

A `.safetensors` file needs no torch; `.pth`, `.pt` and `.bin` need the `torch` extra.
"""

from __future__ import annotations

from absl import flags

from levit_common import cli
from levit_common.choices import FLAVOURS, PYTORCH_FILES
from levit_common.files import check_new, check_suffix
from levit_common.lazy import lazy_names
from levit_common.model_sources import TRAIN_FORM_HELP, check_source

__getattr__ = lazy_names(__name__, convert="converters.pytorch.from_keras")


def main() -> None:
    from converters.pytorch.from_keras import convert

    args = flags.FLAGS
    state = convert(args.model, args.output, args.format, overwrite=args.overwrite)
    print(f"written: {args.output}, {len(state)} tensors in {args.format} naming")


def define_flags() -> None:
    flags.DEFINE_string("model", None, TRAIN_FORM_HELP)
    flags.DEFINE_string("output", None, f"File to write: {', '.join(PYTORCH_FILES)}.")
    flags.DEFINE_enum("format", "official", FLAVOURS, "Codebase whose names and layout to use.")
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "output"])


def check() -> None:
    args = flags.FLAGS
    check_suffix(args.output, *PYTORCH_FILES)
    check_source(args.model)
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
