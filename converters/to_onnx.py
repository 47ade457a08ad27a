"""A Keras LeViT to an ONNX file.

    python -m converters.to_onnx --model=levit256.keras --output=levit256.onnx

Names are those of `levit_common.shipped_names`: plain RGB pictures in, logits and probabilities
out. The file runs channels-first inside, see `converters.onnx.onnx_layout`, and is compared with
Keras in ONNX Runtime before it gets its name.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from converters.choices import DEFAULT_OPSET, DYNAMIC, LABELS_HELP, OPSETS, check_opset
from levit_common import cli
from levit_common.files import check_exists, check_new, check_suffix
from levit_common.lazy import lazy_names

__getattr__ = lazy_names(__name__, to_onnx="converters.onnx.conversion")


def main() -> None:
    from converters.onnx.conversion import to_onnx
    from levit_tf.prediction.predictor import labels_for
    from levit_tf.weights.keras_files import load_keras_file

    args = flags.FLAGS
    error = to_onnx(
        load_keras_file(args.model),
        args.output,
        opset=args.opset,
        batch_size=_parse_batch(args.batch),
        class_names=labels_for(args.labels, Path(args.model)),
        input_range=args.input_range,
        overwrite=args.overwrite,
    )
    print(f"written: {args.output}, opset {args.opset}, batch {args.batch}")
    print(f"largest difference from Keras in ONNX Runtime: {error:.1e} of the largest value")


def _parse_batch(text: str) -> int | None:
    if text == DYNAMIC:
        return None
    if not text.isdecimal():
        raise ValueError(f"--batch: expected {DYNAMIC} or a positive number. Received: {text!r}")
    return int(text)


def define_flags() -> None:
    flags.DEFINE_string("model", None, "LeViT, or a model with one in it: a .keras file.")
    flags.DEFINE_string("output", None, "File to write, ending in .onnx.")
    flags.DEFINE_integer("opset", DEFAULT_OPSET, f"ONNX opset, {OPSETS[0]} to {OPSETS[-1]}.")
    flags.DEFINE_string("batch", DYNAMIC, f"Images in a batch: a number, or {DYNAMIC}.")
    flags.DEFINE_string("labels", None, LABELS_HELP)
    cli.define_input_range()
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "output"])


def check() -> None:
    args = flags.FLAGS
    check_suffix(args.output, ".onnx")
    check_opset(args.opset, _parse_batch(args.batch))
    check_exists(args.model, "a .keras file")
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
