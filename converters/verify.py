"""Compares any two files of a network on real pictures, and reports where they differ.

    python -m converters.verify levit256.keras levit256.tflite --images=FOLDER --layers

Each file is a `.keras` file, a SavedModel, a `.tflite` file, an `.onnx` file, or a PyTorch
checkpoint of any codebase that `converters.from_pytorch` supports; safetensors files need no
PyTorch, as a checkpoint is converted and run in Keras. A repository on the hub or the name of a
variant stands for its Keras model. The first file is the reference. Without
`--images`, pictures that come with scikit-learn are used: digits if the network takes 32x32 pixels,
else parts of two photographs. A network for every size is compared in the size of the other file,
or else in 96x160 pixels.

`--layers` compares the outputs of the stem's convolutions, of each attention and MLP, and of the
sums after them, which are found by name in both files. It names the first layer that differs;
`--picture=FILE.png` draws the differences.

The exit code is 0 if the logits differ by at most the tolerance, 1 if they differ by more or if the
files name a class differently, and 2 if the files cannot be compared. The difference is the largest
one, relative to the largest logit of the reference. The default tolerance is that of the less
precise of the two files, see `converters.verification.verify_artefact`. If a file has no logits,
probabilities are compared.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from converters.choices import COMPARED_PICTURES, VERIFIED
from levit_common import cli
from levit_common.json_files import write_json
from levit_common.lazy import lazy_names
from levit_common.model_sources import check_source

__getattr__ = lazy_names(__name__, open_artefact="converters.verification.artefact_files")


def main(a: str, b: str) -> int:
    from converters.verification.artefact_files import open_artefact
    from converters.verification.verify_compare import (
        common_shape,
        compare_layers,
        compare_outputs,
        differing_class_names,
    )
    from converters.verification.verify_figure import draw_layers
    from converters.verification.verify_pictures import comparison_pictures
    from converters.verification.verify_report import as_json, as_text

    args = flags.FLAGS
    expected, other = (
        open_artefact(path, _checkpoint_size(), args.checkpoint_key, args.input_range, args.trust)
        for path in (a, b)
    )
    images = comparison_pictures(args.images, common_shape(expected, other), args.limit)
    tolerance = args.tolerance
    if tolerance is None:
        tolerance = max(expected.precision.tolerance, other.precision.tolerance)
    outputs = compare_outputs(expected, other, images)
    wanted = args.layers or args.picture
    layers = compare_layers(expected, other, images, outputs) if wanted else None
    if args.picture:
        title = f"{Path(other.source).name} against {Path(expected.source).name}"
        draw_layers(layers, title, Path(args.picture))
    print(as_text(expected, other, outputs, layers, tolerance))
    if args.json:
        write_json(args.json, as_json(expected, other, outputs, layers, tolerance))
    is_same = outputs.within(tolerance) and differing_class_names(expected, other) is None
    return 0 if is_same else 1


def _checkpoint_size() -> tuple[int, int] | None:
    text = flags.FLAGS.checkpoint_size
    return None if text is None else cli.parse_size(text)


def define_flags() -> None:
    flags.DEFINE_string("images", None, "Folder of pictures; embedded ones by default.")
    flags.DEFINE_integer(
        "limit", COMPARED_PICTURES, "Largest number of pictures, evenly chosen from the folder."
    )
    cli.define_input_range()
    cli.define_trust()
    flags.DEFINE_bool("layers", False, "Also compare layer by layer.")
    flags.DEFINE_float(
        "tolerance",
        None,
        "Largest allowed difference, relative to the largest logit; by default it depends on the "
        "precision of the files.",
    )
    flags.DEFINE_string("picture", None, "PNG file to draw the differences of the layers to.")
    flags.DEFINE_string("json", None, "JSON file to write the numbers to.")
    flags.DEFINE_string(
        "checkpoint_size",
        None,
        "HxW of the pictures that a PyTorch checkpoint was trained on, if they are not square.",
    )
    cli.define_checkpoint_key()


def check(a: str, b: str) -> None:
    if flags.FLAGS.limit < 1:
        raise ValueError(f"--limit: expected at least 1. Received: {flags.FLAGS.limit}")
    _checkpoint_size()
    for path in (a, b):
        check_source(path, VERIFIED)


COMMAND = cli.Command(main, define_flags, check, error_code=2)

if __name__ == "__main__":
    COMMAND.run()
