"""Sets new thresholds in a dynamic file, using your own pictures; nothing is trained.

    python -m converters.recalibrate --file=DIR/int8.tflite --calibration=imagefolder:PATH \\
        --epsilon=0.02
    python -m converters.recalibrate --file=DIR/int8.tflite --calibration=... --budget_ms=5
    python -m converters.recalibrate --file=DIR/int8.tflite --thresholds=0.9,0.95

The file (TFLite with IF, ONNX or a SavedModel of `converters.to_dynamic`) is changed in place.
Thresholds that are given as numbers have no statistical guarantee.
"""

from __future__ import annotations

from absl import flags

from converters.to_dynamic import check_calibration, define_calibration
from levit_common import cli
from levit_common.files import check_exists


def main() -> None:
    from pathlib import Path

    from converters.choices import FOLDER_PREFIX
    from converters.dynamic.recalibration import recalibrate, set_by_hand
    from converters.dynamic.running import use_one_thread
    from levit_tf.pictures.labelled_pictures import labelled_pictures
    from levit_tf.pictures.run_pictures import seen_in_training
    from levit_tf.prediction.predictor import load_predictor

    args = flags.FLAGS
    path = Path(args.file)
    if args.budget_ms is not None and path.is_dir():
        use_one_thread()
    if args.thresholds is not None:
        set_by_hand(path, [float(value) for value in args.thresholds], args.trust)
        print(f"written: {path}: thresholds {', '.join(args.thresholds)}, without a guarantee")
        return
    predictor = load_predictor(path, args.labels, trust=args.trust)
    pictures = labelled_pictures(
        args.calibration.removeprefix(FOLDER_PREFIX),
        predictor.class_names,
        predictor.input_size,
        seen_in_training(path),
    )
    found = recalibrate(
        path,
        pictures,
        epsilon=args.epsilon,
        delta=args.delta,
        budget_ms=args.budget_ms,
        statistic=args.budget_of,
        trust=args.trust,
    )
    print(f"written: {path}: {found}")


def define_flags() -> None:
    flags.DEFINE_string("file", None, "A dynamic .tflite or .onnx file, or SavedModel.")
    define_calibration()
    flags.DEFINE_list("thresholds", None, "Thresholds to set, without calibration: one per exit.")
    flags.DEFINE_string("labels", None, "Text file of class names, one per line.")
    cli.define_trust()
    flags.mark_flags_as_required(["file"])


def check() -> None:
    args = flags.FLAGS
    check_exists(args.file, "a dynamic file of converters.to_dynamic")
    if (args.thresholds is None) == (args.calibration is None):
        raise ValueError("Give one of --calibration and --thresholds.")
    if args.thresholds is not None and args.budget_ms is not None:
        raise ValueError(
            "--budget_ms chooses thresholds by pictures: give --calibration, not --thresholds."
        )
    if args.calibration is not None:
        check_calibration()
        return
    for value in args.thresholds:
        try:
            is_confidence = 0 < float(value) < 1
        except ValueError:
            is_confidence = False
        if not is_confidence:
            raise ValueError(
                f"--thresholds: expected confidences between 0 and 1. Received: {value!r}"
            )


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
