"""Writes a Keras LeViT as a folder for the Hugging Face hub.

    python -m converters.to_hub --model=levit256.keras --name=OWNER/NAME --output=upload

The folder contains the weights as timm's or transformers' safetensors with config.json, the
`.keras` file, a `.tflite` file (with --calibration also one in int8), and a model card with
measured figures: top-1 on --pictures, a folder with one sub-folder per class. The command does not
upload anything; to upload the folder, run:

    hf upload OWNER/NAME upload
"""

from __future__ import annotations

import re

from absl import flags

from converters.choices import CALIBRATION, UPLOAD_FILES
from levit_common import cli
from levit_common.files import check_new
from levit_common.model_sources import TRAIN_FORM_HELP, check_source

_FORMATS = ("timm", "hf")


def main() -> None:
    from converters.hub.upload_folder import write_upload_folder

    args = flags.FLAGS
    flavour = write_upload_folder(
        args.model,
        args.output,
        name=args.name,
        flavour=args.format,
        pictures=args.pictures,
        calibration=args.calibration,
        license_name=args.license,
        overwrite=args.overwrite,
    )
    print(f"written: {args.output}, in {flavour} naming")
    print(f"upload it by: hf upload {args.name} {args.output}")


def define_flags() -> None:
    flags.DEFINE_string("model", None, TRAIN_FORM_HELP)
    flags.DEFINE_string("output", None, "Folder to write.")
    flags.DEFINE_string("name", None, "Name of the repository: OWNER/NAME.")
    flags.DEFINE_enum(
        "format", None, _FORMATS, "Library of the PyTorch weights; by default timm if possible."
    )
    flags.DEFINE_string(
        "pictures", None, "Folder of pictures to measure on, with one sub-folder per class."
    )
    flags.DEFINE_string(
        "calibration", None, f"Calibration pictures, to write an int8 file too: {CALIBRATION}."
    )
    flags.DEFINE_string("license", "apache-2.0", "License identifier on the hub.")
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "output", "name"])


def check() -> None:
    args = flags.FLAGS
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", args.name):
        raise ValueError(f"--name: expected OWNER/NAME. Received: {args.name!r}")
    check_source(args.model)
    check_new(args.output, args.overwrite, UPLOAD_FILES, [args.model])


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
