"""Converts a Keras LeViT, or a model that contains one, to a TFLite file by a named recipe.

    python -m converters.to_tflite --model=levit256.keras --recipe=fp16 --output=levit256.tflite
    python -m converters.to_tflite --model=levit256.keras --recipe=int8 --output=levit256.tflite \\
        --calibration=imagefolder:/path/to/pictures
    python -m converters.to_tflite --model=levit256.keras --input_sizes=224,288x384 \\
        --output=levit256.tflite

The file takes one plain RGB picture, 0..255, and returns probabilities or, with --outputs, logits
or both; names are those of `levit_common.shipped_names`. It contains the metadata that MediaPipe
and Android Studio read, including class names. Its outputs are compared with those of the Keras
model before it is put in place, and FILE.json in the same folder records how it was made and how
much it differs from Keras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from converters.choices import (
    CALIBRATION,
    CALIBRATION_METHODS,
    DEFAULT_CALIBRATION_METHOD,
    LABELS_HELP,
    OUTPUTS,
    RECIPES,
    check_calibration_method,
    check_recipe,
)
from levit_common import cli
from levit_common.files import check_new, check_suffix
from levit_common.lazy import lazy_names
from levit_common.model_sources import MODEL_HELP, check_source
from levit_common.shipped_names import LOGITS, PROBABILITIES

__getattr__ = lazy_names(__name__, to_tflite="converters.tflite.conversion")


def main() -> None:
    from converters.deploy import class_count, deploy_graph
    from converters.tflite.calibration import calibration_images
    from converters.tflite.conversion import to_tflite
    from levit_tf.applications import load_by_name
    from levit_tf.keras_graph.properties import model_properties
    from levit_tf.prediction.predictor import labels_for
    from levit_tf.weights.keras_files import model_path

    args = flags.FLAGS
    path = model_path(args.model)
    model = load_by_name(path)
    own = model_properties(model).class_names
    options = {
        "recipe": args.recipe,
        "outputs": args.outputs,
        "io_dtype": args.io_dtype,
        "calibration_method": args.calibration_method,
        "class_names": labels_for(args.labels, Path(path), own, class_count(model)),
        "input_range": args.input_range,
        "source": path,
    }
    if args.input_sizes:
        from converters.tflite.several_sizes import to_tflite_of_sizes

        load = None
        if args.calibration is not None:
            channels = model.inputs[0].shape[-1]

            def load(size):
                return calibration_images(args.calibration, (*size, channels))

        about = to_tflite_of_sizes(
            model,
            args.output,
            _sizes(args.input_sizes),
            calibration_images=load,
            overwrite=args.overwrite,
            **options,
        )
        print(f"written: {args.output}, {about['bytes'] / 1e6:.1f} MB")
        for name, signature in about["signatures"].items():
            print(f"  {name}: {_comparison(signature['compared_with_keras'], about)}")
        return
    images = None
    if args.calibration is not None:
        # Raises a readable error for any other kind of model.
        size = deploy_graph(model, input_range=args.input_range).input.shape[1:]
        images = calibration_images(args.calibration, size)
    about = to_tflite(
        model,
        args.output,
        calibration_images=images,
        overwrite=args.overwrite,
        **options,
    )
    print(
        f"written: {args.output}, {about['bytes'] / 1e6:.1f} MB; "
        f"{_comparison(about['compared_with_keras'], about)}"
    )


def _sizes(texts: Sequence[str]) -> list[tuple[int, int]]:
    return [cli.parse_size(text) for text in texts]


def _comparison(found: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    name = next(name for name in (LOGITS, PROBABILITIES, *about["outputs"]) if name in found)
    same = ""
    if "same_top1" in found:
        same = f"{found['same_top1']:.1%} of the answers are those of Keras, "
    return (
        f"on {found['pictures']} pictures {same}{name} differ by "
        f"{found[name]['relative_difference']:.1e} of the largest"
    )


def define_flags() -> None:
    known = "; ".join(f"{name}: {choice.description}" for name, choice in RECIPES.items())
    flags.DEFINE_string("model", None, MODEL_HELP)
    flags.DEFINE_string("recipe", "fp32", f"One of {known}.")
    flags.DEFINE_string("output", None, "File to write, ending in .tflite.")
    flags.DEFINE_enum("outputs", PROBABILITIES, OUTPUTS, "Outputs of a classifier's file.")
    flags.DEFINE_list(
        "input_sizes",
        None,
        "Input sizes, such as 224,288x384: the file has one signature per size, which share the "
        "weights. The model must be a LeViT in train form, of any input size.",
    )
    flags.DEFINE_string(
        "io_dtype", None, "Type of input and outputs of int8_full: uint8 (default) or int8."
    )
    flags.DEFINE_string(
        "calibration",
        None,
        "Pictures from which int8 and int8_full learn ranges, and on which every file is compared "
        f"with Keras: {CALIBRATION}.",
    )
    methods = "; ".join(f"{name}: {text}" for name, text in CALIBRATION_METHODS.items())
    flags.DEFINE_string(
        "calibration_method",
        None,
        "How int8 and int8_full choose the ranges of activations; "
        f"{DEFAULT_CALIBRATION_METHOD} by default. {methods}.",
    )
    flags.DEFINE_string("labels", None, LABELS_HELP)
    cli.define_input_range()
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "output"])


def check() -> None:
    args = flags.FLAGS
    check_suffix(args.output, ".tflite")
    _sizes(args.input_sizes or [])
    check_recipe(args.recipe, args.io_dtype, args.calibration is not None)
    check_calibration_method(args.calibration_method, args.recipe)
    check_source(args.model)
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
