"""Converts a LeViT with exits, or a cascade of several, to files that skip unnecessary steps.

    python -m converters.to_dynamic --models=runs/exits/final.keras \\
        --calibration=imagefolder:PATH --epsilon=0.01 --delta=0.1 --output=DIR
    python -m converters.to_dynamic --models=small.keras,large.keras --calibration=... --output=DIR

PATH contains one folder per class, or the parts of a data set, of which the held-out part is used.
The pictures must not have been used for training; of a folder without parts, those that were are
left out. With confidence 1 - delta, at most a share epsilon of all such pictures leaves early with
a wrong class although the whole network is right.

DIR contains `fp32.tflite` and `int8.tflite`, which choose the exit themselves; `fp32-steps.tflite`
and `int8-steps.tflite`, with one signature per step, for apps with a time limit; `saved_model`,
`model.onnx`, `labels.txt`, and `dynamic.json` with the calibration. Every path of every file is
compared with the Keras model before DIR is put in place. `converters.recalibrate` can set other
thresholds later.
"""

from __future__ import annotations

from absl import flags

from converters.choices import DYNAMIC_FILES, FOLDER_PREFIX, STEP_FORMATS
from levit_common import cli
from levit_common.files import check_exists, check_new


def main() -> None:
    from pathlib import Path

    from converters.deploy import class_count
    from converters.dynamic.conversion import to_dynamic
    from levit_lite.prediction.predictor import class_names_for
    from levit_tf.keras_graph.properties import model_properties
    from levit_tf.pictures.labelled_pictures import labelled_pictures
    from levit_tf.pictures.run_pictures import seen_in_training
    from levit_tf.prediction.predictor import labels_for
    from levit_tf.sizes import fixed_size
    from levit_tf.weights.keras_files import load_keras_file, model_path

    args = flags.FLAGS
    paths = [model_path(path) for path in args.models]
    models = [load_keras_file(path) for path in paths]
    classes = class_count(models[0])
    if classes is None:
        raise ValueError(
            f"{paths[0]}: not a classifier. levit_tf.reset_classifier puts a head on a LeViT."
        )
    known = (model_properties(model).class_names for model in models)
    own = next((one for one in known if one), None)
    given = labels_for(args.labels, Path(paths[0]), own)
    names = class_names_for(given, (), classes, own)
    seen = seen_in_training(*paths)
    folder = args.calibration.removeprefix(FOLDER_PREFIX)
    pictures = labelled_pictures(folder, names, fixed_size(models[0], str(paths[0])), seen)
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
        budget_ms=args.budget_ms,
        statistic=args.budget_of,
        seen=seen,
        overwrite=args.overwrite,
    )
    for name, calibration in record["calibration"].items():
        if args.budget_ms is None:
            print(f"{name}: {calibration['promise']}")
        elif name in record["files"]:
            print(
                f"{name}: {args.budget_of} within {args.budget_ms:g} ms: {calibration['promise']}"
            )
    print(f"written: {args.output}: {', '.join(record['files'])}")


def define_flags() -> None:
    flags.DEFINE_list(
        "models",
        None,
        "A .keras file of a LeViT with exits, or several classifiers, the fastest first.",
    )
    define_calibration()
    flags.DEFINE_string("output", None, "Folder to write.")
    flags.DEFINE_list(
        "formats", list(STEP_FORMATS), f"Formats to write, from {', '.join(STEP_FORMATS)}."
    )
    flags.DEFINE_string("labels", None, "Text file of class names, one per line.")
    cli.define_input_range()
    cli.define_overwrite()
    flags.mark_flags_as_required(["models", "calibration", "output"])


def define_calibration() -> None:
    """Defines the flags for choosing thresholds."""
    flags.DEFINE_string(
        "calibration", None, f"Labelled pictures not used in training: {FOLDER_PREFIX}PATH."
    )
    flags.DEFINE_float(
        "epsilon",
        0.01,
        "Largest share of pictures that leave early with a wrong class although the whole network "
        "is right.",
    )
    flags.DEFINE_float("delta", 0.1, "Largest probability that the bound epsilon does not hold.")
    flags.DEFINE_float(
        "budget_ms",
        None,
        "Time limit per picture on this machine in milliseconds; used instead of --epsilon.",
    )
    flags.DEFINE_enum(
        "budget_of", "mean", ("mean", "p99"), "Statistic of the times to compare with --budget_ms."
    )


def check_calibration() -> None:
    """Checks the flags for choosing thresholds."""
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
    for name in ("models", "formats"):
        if not args[name].value:
            raise ValueError(f"--{name}: expected at least one.")
    for name in args.formats:
        if name not in STEP_FORMATS:
            raise ValueError(f"--formats: some of {', '.join(STEP_FORMATS)}. Received: {name!r}")
    for path in args.models:
        check_exists(path, "a .keras file")
    check_new(args.output, args.overwrite, DYNAMIC_FILES, args.models)


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
