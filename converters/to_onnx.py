"""Converts a Keras LeViT to an ONNX file.

    python -m converters.to_onnx --model=levit256.keras --output=levit256.onnx
    python -m converters.to_onnx --model=levit256.keras --recipe=int8 --output=levit256-int8.onnx \\
        --calibration=imagefolder:/path/to/pictures

Names are those of `levit_common.shipped_names`: the input is plain RGB pictures, the outputs are
logits and probabilities. The float file computes channels-first, see `converters.onnx.onnx_layout`;
--layout=tokens writes the form that OpenVINO computes faster, see `converters.onnx.token_layout`.
The int8 file contains the same quantised network as `converters.to_tflite --recipe=int8`, for ONNX
Runtime and OpenVINO; `converters.qat` writes it for a network that was trained for int8. Every file
is compared with Keras in ONNX Runtime before it is put in place.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from converters.choices import (
    CALIBRATION,
    CALIBRATION_METHODS,
    DEFAULT_CALIBRATION_METHOD,
    DEFAULT_OPSET,
    DYNAMIC,
    LABELS_HELP,
    OPSETS,
    RECIPES,
    check_calibration_method,
    check_opset,
)
from converters.onnx.recipes import LAYOUTS, ONNX_RECIPES, check_layout, check_onnx_recipe
from levit_common import cli
from levit_common.files import check_new, check_suffix
from levit_common.lazy import lazy_names
from levit_common.model_sources import MODEL_HELP, check_source

__getattr__ = lazy_names(__name__, to_onnx="converters.onnx.conversion")


def main() -> None:
    from converters.deploy import class_count, deploy_graph
    from converters.onnx.conversion import to_onnx
    from converters.tflite.calibration import calibration_images
    from levit_tf.applications import load_by_name
    from levit_tf.keras_graph.properties import model_properties
    from levit_tf.prediction.predictor import labels_for

    args = flags.FLAGS
    model = load_by_name(args.model)
    own = model_properties(model).class_names
    images = None
    if args.calibration is not None:
        # Raises a readable error for any other kind of model.
        size = deploy_graph(model, input_range=args.input_range).input.shape[1:]
        images = calibration_images(args.calibration, size)
    written = to_onnx(
        model,
        args.output,
        recipe=args.recipe,
        layout=args.layout,
        opset=args.opset,
        batch_size=_parse_batch(args.batch),
        class_names=labels_for(args.labels, Path(args.model), own, class_count(model)),
        input_range=args.input_range,
        calibration_images=images,
        calibration_method=args.calibration_method,
        overwrite=args.overwrite,
    )
    print(f"written: {args.output}, opset {args.opset}, batch {args.batch}")
    if written.int8:
        print(f"in int8: {len(written.int8)} of {written.layers} convolutions and dense layers")
    print(f"largest difference from Keras in ONNX Runtime: {written:.1e} of the largest value")


def _parse_batch(text: str) -> int | None:
    if text == DYNAMIC:
        return None
    if not text.isdecimal():
        raise ValueError(f"--batch: expected {DYNAMIC} or a positive number. Received: {text!r}")
    return int(text)


def define_flags() -> None:
    flags.DEFINE_string("model", None, MODEL_HELP)
    flags.DEFINE_string("output", None, "File to write, ending in .onnx.")
    known = "; ".join(f"{name}: {RECIPES[name].description}" for name in ONNX_RECIPES)
    flags.DEFINE_string("recipe", "fp32", f"One of {known}.")
    layouts = "; ".join(f"{name}: {text}" for name, text in LAYOUTS.items())
    flags.DEFINE_string("layout", None, f"One of {layouts}.")
    flags.DEFINE_integer("opset", DEFAULT_OPSET, f"ONNX opset, {OPSETS[0]} to {OPSETS[-1]}.")
    flags.DEFINE_string("batch", DYNAMIC, f"Batch size: a number, or {DYNAMIC} for any size.")
    flags.DEFINE_string(
        "calibration",
        None,
        "Pictures from which int8 learns ranges, and on which every file is compared with Keras: "
        f"{CALIBRATION}.",
    )
    methods = "; ".join(f"{name}: {text}" for name, text in CALIBRATION_METHODS.items())
    flags.DEFINE_string(
        "calibration_method",
        None,
        f"How int8 chooses the ranges of activations; {DEFAULT_CALIBRATION_METHOD} by default. "
        f"{methods}.",
    )
    flags.DEFINE_string("labels", None, LABELS_HELP)
    cli.define_input_range()
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "output"])


def check() -> None:
    args = flags.FLAGS
    check_suffix(args.output, ".onnx")
    check_opset(args.opset, _parse_batch(args.batch))
    check_onnx_recipe(args.recipe, args.calibration is not None)
    check_layout(args.layout, args.recipe)
    check_calibration_method(args.calibration_method, args.recipe)
    check_source(args.model)
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
