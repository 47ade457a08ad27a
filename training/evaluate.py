"""Measures the accuracy of a network on labelled pictures, by the paper's protocol.

    python -m training.evaluate --model=FILE_OR_VARIANT --dataset=NAME [--output=DIR]

    python -m training.evaluate --model=LeViT256 --dataset=imagenet2012
    python -m training.evaluate --model=levit256-int8.tflite --dataset=imagenet2012_real
    python -m training.evaluate --model=levit256.onnx --dataset=imagenet_v2/matched-frequency
    python -m training.evaluate --model=runs/x/saved_model --dataset=imagefolder:PATH --split=test

For a folder of classes, all pictures are evaluated; for a folder with parts (test/, val/, ...), the
test part. `--split` chooses another: a part, `all`, or `test` of a folder without parts for the
tenth that training holds out. The protocol is that of `levit_tf.preprocessing`: a bicubic,
antialiased resize to 256 and a centre crop of 224. `training.data.load_data` lists the data sets.
With `--output`, the folder gets `evaluation.json`, `per_class.csv` and `confusion.png`.

For a dynamic file of `converters.to_dynamic`, it reports mean, p50 and p99 of the time, and for
each exit how often it is used, its accuracy and its calibration. With `--output`, it draws accuracy
over mean time, `dynamic.png`; `--beside=a.tflite,b.tflite` adds single networks to this plot.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from absl import flags

from levit_common import cli
from levit_common.lazy import lazy_names
from levit_common.markdown import markdown_table
from levit_common.picture_files import printable
from levit_common.shipped_names import THRESHOLDS_SIGNATURE
from training.choices import EVALUATION_BATCH

_WORK = "training.evaluation.accuracy"
__getattr__ = lazy_names(__name__, class_of_output=_WORK, evaluate=_WORK, is_named=_WORK)


def main() -> None:
    from levit_tf.prediction.predictor import load_predictor
    from training.data import load_data, summary
    from training.evaluation.accuracy import evaluate, is_named
    from training.evaluation.report import paper_top1, write_report

    args = flags.FLAGS
    if _times_tensorflow():
        from converters.dynamic.running import use_one_thread

        use_one_thread()  # before TensorFlow begins to compute
    data = load_data(args.dataset, split_test=args.split, strict=args.strict, with_train=False)
    print(summary(data, "evaluated"), flush=True)
    known = len(data.skipped)
    predictor = load_predictor(args.model, args.labels, args.input_range, args.trust)
    data = data.with_input_size(predictor.input_size)
    if not is_named(predictor):
        print("  the model's classes have no names: taken in the order of the data set's")
    if predictor.has_exits:
        with data.failure_explained():
            _evaluate_dynamic(predictor, data)
        return
    if args.beside:
        raise ValueError(
            f"--beside: networks to compare with a dynamic file, and {args.model} is none. "
            "Evaluate each by itself."
        )
    start = time.perf_counter()
    with data.failure_explained():
        accuracy = evaluate(
            predictor, data, batch=args.batch, limit=args.limit, by_order=args.by_order
        )
    speed = accuracy.pictures / (time.perf_counter() - start)
    paper = paper_top1(args.variant or args.model, args.dataset, args.split)
    skipped = data.skipped
    for name, reason in skipped[known:]:
        print(f"skipped: {printable(name)}: {reason}", file=sys.stderr)
    header = ("model", "data", "pictures", "top-1, %", "top-5, %", "the paper's top-1, %")
    row = (
        Path(args.model).name,
        args.dataset + (f" {args.split}" if args.split else ""),
        f"{accuracy.pictures:,}",
        f"{100 * accuracy.top1:.2f}",
        f"{100 * accuracy.top5:.2f}",
        f"{paper:.1f}" if paper else "-",
    )
    print(markdown_table([header, row]))
    left = data.num_test - accuracy.pictures
    print(
        f"{left:,} of {data.num_test:,} pictures left out: {accuracy.unlabelled} without a label, "
        f"{len(skipped) - known} found damaged, the rest by --limit; {known} skipped beforehand. "
        f"{speed:.0f} pictures/s."
    )
    if args.output:
        content = {
            "model": args.model,
            "dataset": args.dataset,
            "split": args.split,
            **{key: getattr(accuracy, key) for key in ("pictures", "unlabelled", "top1", "top5")},
            "paper_top1_percent": paper,
            "skipped": skipped,
        }
        write_report(Path(args.output), content, accuracy, data)
        print(f"written: {args.output}")


def _times_tensorflow() -> bool:
    """Whether times of a network that TensorFlow runs will be reported, which are of one thread."""
    from levit_tf.opening.saved_models import GRAPH_FILE

    args = flags.FLAGS
    if any(not path.lower().endswith((".tflite", ".onnx")) for path in args.beside):
        return True
    # Dynamic SavedModels have this signature; loading one to find out would start TensorFlow.
    graph = Path(args.model, GRAPH_FILE)
    return graph.is_file() and THRESHOLDS_SIGNATURE.encode() in graph.read_bytes()


def _evaluate_dynamic(predictor, data) -> None:
    """Evaluates a file of `converters.to_dynamic` and prints or writes the report."""
    from converters.dynamic.running import open_dynamic
    from levit_tf.prediction.predictor import load_predictor
    from training.evaluation.dynamic import evaluate_dynamic, write_dynamic_report

    args = flags.FLAGS
    beside = [(path, load_predictor(path, trust=args.trust, threads=1)) for path in args.beside]
    report = evaluate_dynamic(
        open_dynamic(args.model, args.trust, threads=1),
        predictor,
        data,
        beside=beside,
        limit=args.limit,
        by_order=args.by_order,
    )
    print(report)
    if args.output:
        summary = {"model": args.model, "dataset": args.dataset, "split": args.split}
        write_dynamic_report(Path(args.output), report, summary)
        print(f"written: {args.output}")


def define_flags() -> None:
    flags.DEFINE_string("model", None, "A .keras, .tflite or .onnx file, SavedModel, or variant.")
    flags.DEFINE_string("dataset", None, "Name of a data set; see training.data.load_data.")
    flags.DEFINE_string("split", None, "Part of it: a TFDS split, a folder's part, or all.")
    flags.DEFINE_string("output", None, "Folder for evaluation.json, per_class.csv, confusion.png.")
    flags.DEFINE_string("labels", None, "File with the model's class names, one per line.")
    flags.DEFINE_list("beside", [], "Single networks to compare with a dynamic file.")
    flags.DEFINE_bool("by_order", False, "Assume the model's classes are in the data set's order.")
    cli.define_input_range()
    cli.define_trust()
    flags.DEFINE_string("variant", None, "Variant for the published top-1, if not in the name.")
    flags.DEFINE_integer("limit", None, "Largest number of pictures, evenly spread.", lower_bound=1)
    flags.DEFINE_integer("batch", EVALUATION_BATCH, "Pictures in memory at once.", lower_bound=1)
    flags.DEFINE_bool("strict", False, "Stop at the first picture that cannot be read.")
    flags.mark_flags_as_required(["model", "dataset"])


COMMAND = cli.Command(main, define_flags)

if __name__ == "__main__":
    COMMAND.run()
