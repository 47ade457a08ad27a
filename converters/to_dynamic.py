"""A LeViT with exits, or a cascade of several, to files that skip what a picture does not need.

    python -m converters.to_dynamic --models=runs/exits/final.keras \\
        --calibration=imagefolder:PATH --epsilon=0.01 --delta=0.1 --output=DIR
    python -m converters.to_dynamic --models=small.keras,large.keras --calibration=... --output=DIR

PATH holds a folder for each class, or the parts of a data set, of which the held-out one is taken;
training must not have seen the pictures. With confidence 1 - delta, at most a share epsilon of all
such pictures leaves early with a wrong answer where the whole network is right.

DIR gets `fp32.tflite` and `int8.tflite`, which choose by themselves; `fp32-steps.tflite` and
`int8-steps.tflite`, with a signature for each step, for apps that stop when their time is up;
`saved_model`, `model.onnx`, `labels.txt`, and `dynamic.json` with the calibration. Each path of
each file is compared with the Keras model before DIR gets its name. `converters.recalibrate` sets
other thresholds later.
"""

from __future__ import annotations

from absl import flags

from converters.choices import FOLDER_PREFIX, STEP_FORMATS
from levit_common import cli
from levit_common.files import check_exists, check_new


def main() -> None:
    from pathlib import Path

    from converters.deploy import class_count
    from converters.dynamic.conversion import to_dynamic
    from converters.dynamic.recalibration import recalibrate
    from levit_lite.prediction.predictor import class_names_for
    from levit_tf.keras_graph.properties import model_properties
    from levit_tf.pictures.labelled_pictures import labelled_pictures
    from levit_tf.pictures.run_pictures import seen_in_training
    from levit_tf.prediction.predictor import labels_for
    from levit_tf.weights.keras_files import load_keras_file, model_path

    args = flags.FLAGS
    paths = [model_path(path) for path in args.models]
    models = [load_keras_file(path) for path in paths]
    given = labels_for(args.labels, Path(paths[0]))
    own = model_properties(models[0]).class_names
    names = class_names_for(given, (), class_count(models[0]), own)
    seen = {key: run for path in paths for key, run in seen_in_training(path).items()}
    folder = args.calibration.removeprefix(FOLDER_PREFIX)
    pictures = labelled_pictures(folder, names, models[0].inputs[0].shape[1:3], seen)
    record = to_dynamic(
        models,
        args.output,
        pictures=pictures,
        epsilon=args.epsilon,
        delta=args.delta,
        class_names=names,
        formats=args.formats,
        input_range=args.input_range,
        sources=paths,
        overwrite=args.overwrite,
    )
    for recipe, calibration in record["calibration"].items():
        print(f"{recipe}: {calibration['promise']}")
    if args.budget_ms is not None:
        for name in record["files"]:
            if not name.endswith("-steps.tflite"):
                found = recalibrate(
                    Path(args.output, name),
                    pictures,
                    delta=args.delta,
                    budget_ms=args.budget_ms,
                    statistic=args.budget_of,
                )
                print(f"{name}: {args.budget_of} within {args.budget_ms:g} ms: {found}")
    print(f"written: {args.output}: {', '.join(record['files'])}")


def define_flags() -> None:
    flags.DEFINE_list(
        "models",
        None,
        "A .keras file of a LeViT with exits, or several classifiers, the quickest first.",
    )
    define_calibration()
    flags.DEFINE_string("output", None, "Folder to write.")
    flags.DEFINE_list("formats", list(STEP_FORMATS), f"Some of {', '.join(STEP_FORMATS)}.")
    flags.DEFINE_string("labels", None, "Names of the classes, one a line.")
    cli.define_input_range()
    cli.define_overwrite()
    flags.mark_flags_as_required(["models", "calibration", "output"])


def define_calibration() -> None:
    """Defines the flags by which thresholds are chosen."""
    flags.DEFINE_string(
        "calibration", None, f"Labelled pictures, {FOLDER_PREFIX}PATH, that training has not seen."
    )
    flags.DEFINE_float(
        "epsilon", 0.01, "Share that may leave early and wrong where the whole network is right."
    )
    flags.DEFINE_float("delta", 0.1, "How likely the pictures may mislead about that.")
    flags.DEFINE_float("budget_ms", None, "Milliseconds to keep on this machine, not epsilon.")
    flags.DEFINE_enum("budget_of", "mean", ("mean", "p99"), "Which time keeps to them.")


def check_calibration() -> None:
    """Checks them."""
    args = flags.FLAGS
    if not args.calibration.startswith(FOLDER_PREFIX):
        raise ValueError(
            f"--calibration: expected {FOLDER_PREFIX}PATH. Received: {args.calibration!r}"
        )
    for name in ("epsilon", "delta"):
        if not 0 < args[name].value < 1:
            raise ValueError(f"--{name} must lie between 0 and 1. Received: {args[name].value:g}")
    if args.budget_ms is not None and not args.budget_ms > 0:
        raise ValueError(f"--budget_ms must be above 0. Received: {args.budget_ms:g}")


def check() -> None:
    args = flags.FLAGS
    check_calibration()
    for name in args.formats:
        if name not in STEP_FORMATS:
            raise ValueError(f"--formats: some of {', '.join(STEP_FORMATS)}. Received: {name!r}")
    for path in args.models:
        check_exists(path, "a .keras file")
    check_new(args.output, args.overwrite)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
