"""Converts a Keras LeViT to a SavedModel for TensorFlow Serving.

    python -m converters.to_saved_model --model=levit256.keras --output=levit256
    python -m converters.to_saved_model --model=levit256.keras --output=levit256-bf16 \\
        --precision=bfloat16

The signature is that of `levit_common.shipped_names`: the input is plain RGB pictures, the outputs
are logits and probabilities. They are compared with those of the Keras model before the SavedModel
is put in place.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from converters.choices import (
    CONSTANTS,
    LABELS_HELP,
    PRECISIONS,
    SAVED_MODEL_FILES,
    WEIGHTS,
    WEIGHTS_HELP,
)
from levit_common import cli
from levit_common.files import check_new
from levit_common.lazy import lazy_names
from levit_common.model_sources import MODEL_HELP, check_source

__getattr__ = lazy_names(__name__, to_saved_model="converters.saved_model.conversion")


def main() -> None:
    from converters.deploy import class_count
    from converters.saved_model.conversion import to_saved_model
    from levit_tf.applications import load_by_name
    from levit_tf.keras_graph.properties import model_properties
    from levit_tf.prediction.predictor import labels_for

    args = flags.FLAGS
    model = load_by_name(args.model)
    own = model_properties(model).class_names
    error = to_saved_model(
        model,
        args.output,
        class_names=labels_for(args.labels, Path(args.model), own, class_count(model)),
        input_range=args.input_range,
        precision=args.precision,
        weights=args.weights,
        overwrite=args.overwrite,
    )
    print(f"written: {args.output}; differs by {error:.1e} of the largest value from Keras")


def define_flags() -> None:
    flags.DEFINE_string("model", None, MODEL_HELP)
    flags.DEFINE_string("output", None, "Directory to write.")
    flags.DEFINE_string("labels", None, LABELS_HELP)
    cli.define_input_range()
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Type in which the network computes.")
    flags.DEFINE_enum("weights", CONSTANTS, WEIGHTS, WEIGHTS_HELP)
    cli.define_overwrite()
    flags.mark_flags_as_required(["model", "output"])


def check() -> None:
    args = flags.FLAGS
    check_source(args.model)
    check_new(args.output, args.overwrite, SAVED_MODEL_FILES, [args.model])


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
