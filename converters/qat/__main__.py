"""A network that was trained for int8 to the TFLite or ONNX file that it was trained for.

    python -m training.main --config=digits_qat --output=runs/digits-int8
    python -m converters.qat --model=runs/digits-int8 --output=digits-int8.tflite
    python -m converters.qat --model=runs/digits-int8 --output=digits-int8.onnx

Quantisation-aware training is `python -m training.main` with --set=qat=int8 or --set=qat=int8_full.
The file gets the ranges that training has learned, so that what was trained is what is shipped, and
no calibration. Beside a .tflite file, FILE.json says how it was made. An .onnx file, for int8 only,
is the same network for ONNX Runtime and OpenVINO.
"""

from __future__ import annotations

from absl import flags

from converters.choices import IO_DTYPES, OUTPUTS
from levit_common import cli
from levit_common.files import check_exists, check_new, check_suffix
from levit_common.shipped_names import PROBABILITIES


def main() -> None:
    from converters.qat.conversion import convert

    args = flags.FLAGS
    about = convert(
        args.model,
        args.output,
        outputs=args.outputs,
        io_dtype=args.io_dtype,
        labels=args.labels,
        overwrite=args.overwrite,
    )
    print(f"written: {args.output}, {about['recipe']} with the ranges that training learned")


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Folder of a run with --set=qat=..., or its final.keras.")
    flags.DEFINE_string("output", None, "File to write, ending in .tflite or .onnx.")
    flags.DEFINE_enum(
        "outputs", None, OUTPUTS, f"What a .tflite file returns, {PROBABILITIES} by default."
    )
    flags.DEFINE_enum("io_dtype", None, IO_DTYPES, "Input and outputs of int8_full: uint8 or int8.")
    flags.DEFINE_string("labels", None, "Class names, one a line; by default those of the run.")
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "output"])


def check() -> None:
    args = flags.FLAGS
    check_suffix(args.output, ".tflite", ".onnx")
    check_exists(args.model, "a run's folder, or its final.keras")
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
