"""A network that was trained for int8 to the TFLite file that it was trained for.

    python -m training.main --config=digits_qat --output=runs/digits-int8
    python -m converters.qat --model=runs/digits-int8 --output=digits-int8.tflite

Quantisation-aware training is `python -m training.main` with --set=qat=int8 or --set=qat=int8_full.
The file gets the ranges that training has learned, so that what was trained is what is shipped, and
no calibration. Beside it, FILE.json says how it was made.
"""

from __future__ import annotations

from absl import flags

from converters import cli
from converters.qat.conversion import convert
from converters.tflite.quantize import IO_DTYPES
from converters.to_tflite import OUTPUTS
from levit_common.shipped_names import PROBABILITIES


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
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
    flags.DEFINE_string("output", None, "File to write, ending in .tflite.")
    flags.DEFINE_enum("outputs", PROBABILITIES, OUTPUTS, "What the file returns.")
    flags.DEFINE_enum("io_dtype", None, IO_DTYPES, "Input and outputs of int8_full: uint8 or int8.")
    flags.DEFINE_string("labels", None, "Class names, one a line; by default those of the run.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing output.")
    flags.mark_flags_as_required(["model", "output"])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
