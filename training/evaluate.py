"""Accuracy of a network on labelled pictures, by the paper's protocol.

    python -m training.evaluate --model=FILE_OR_VARIANT --dataset=NAME [--output=DIR]

    python -m training.evaluate --model=LeViT256 --dataset=imagenet2012
    python -m training.evaluate --model=levit256-int8.tflite --dataset=imagenet2012_real
    python -m training.evaluate --model=levit256.onnx --dataset=imagenet_v2/matched-frequency
    python -m training.evaluate --model=runs/x/saved_model --dataset=imagefolder:PATH --split=test

Of a folder of classes all pictures are evaluated, of one with parts (test/, val/, ...) the test
part; `--split` chooses: a part, `all`, or `test` of a folder without parts for the tenth that
training on it holds out. The protocol is `levit_tf.preprocessing`: resize to 256 for a centre crop
of 224, bicubic, antialiased. `training.data.load_data` says what data sets there are. With
`--output` the folder gets `evaluation.json`, `per_class.csv` and `confusion.png`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from converters import cli
from levit_common.markdown import markdown_table
from levit_common.picture_files import printable
from levit_tf.class_names import imagenet_class_names, top_classes
from levit_tf.prediction.predictor import Predictor, load_predictor
from training.data import Dataset, load_data, summary
from training.data.loading import imagenet_ids
from training.data.summary import SHOWN_CLASSES
from training.evaluation_report import Accuracy, paper_top1, write_report

BATCH_SIZE = 256
TOP = 5


def top1(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of pictures whose highest score is that of their label, 0..1.

    Args:
      scores: (n, classes), logits or probabilities.
      labels: (n,) integers.
    """
    return float(np.mean(scores.argmax(axis=1) == labels))


def evaluate(
    predictor: Predictor,
    data: Dataset,
    *,
    batch: int = BATCH_SIZE,
    limit: int | None = None,
    by_order: bool = False,
) -> Accuracy:
    """Classifies the held-out pictures of a data set.

    Args:
      predictor: of the data set's classes, or of more: what it predicts beyond them is wrong.
      data: of the predictor's input size.
      batch: pictures that are in memory at once.
      limit: at most so many pictures, evenly spread; None for all.
      by_order: see `class_of_output`.

    Returns:
      The accuracy. Where a picture has a set of labels, each of them is right.

    Raises:
      ValueError: the classes do not match, or there are no pictures.
    """
    class_of = class_of_output(predictor, data, by_order)
    classes = len(data.class_names)
    confusion = np.zeros((classes, classes + 1), np.int32)
    totals, correct = np.zeros((2, classes), np.int64)
    seen = hits1 = hits5 = unlabelled = 0
    is_set = False
    bar = keras.utils.Progbar(min(data.num_test, limit or data.num_test), unit_name="picture")
    dataset = data.test_dataset(batch=batch, normalize=False, limit=limit)
    for images, labels in dataset.as_numpy_iterator():
        best = top_classes(predictor.predict(images), min(TOP, predictor.classes))
        best = class_of[best]  # (n, 5), `classes` for what the data set has not
        is_set = labels.ndim == 2
        sets = labels if is_set else np.eye(classes, dtype=np.int32)[labels]
        labelled = sets.any(axis=1)
        sets, best = sets[labelled], best[labelled]
        right = np.take_along_axis(np.pad(sets, [(0, 0), (0, 1)]), best, axis=1) > 0
        totals += sets.sum(axis=0)
        correct += sets[right[:, 0]].sum(axis=0)
        hits1, hits5 = hits1 + right[:, 0].sum(), hits5 + right.any(axis=1).sum()
        seen, unlabelled = seen + len(sets), unlabelled + (~labelled).sum()
        if not is_set:
            np.add.at(confusion, (labels, best[:, 0]), 1)
        if sys.stdout.isatty():
            bar.update(seen + unlabelled, finalize=False)
    if not seen:
        raise ValueError(f"dataset {data.name}: no labelled picture that can be read.")
    return Accuracy(
        top1=float(hits1 / seen),
        top5=float(hits5 / seen),
        pictures=int(seen),
        unlabelled=int(unlabelled),
        class_pictures=totals,
        class_correct=correct,
        confusion=None if is_set else confusion,
    )


def class_of_output(predictor: Predictor, data: Dataset, by_order: bool = False) -> np.ndarray:
    """The data set's class for each output of a network; `len(data.class_names)` for none.

    Classes are matched by their names or, where the network has ImageNet's 1000, by their WordNet
    ids; so a network can be tried on some of its classes, and on folders in another order. A
    network without names is taken to have the classes of the data set, in their order.

    Args:
      predictor: the network.
      data: the data set.
      by_order: whether to take the outputs in the order of the data set's classes, whatever the
        network calls them.

    Returns:
      (predictor.classes,) int64.

    Raises:
      ValueError: there are classes that the network has not.
    """
    classes = len(data.class_names)
    if by_order or not is_named(predictor):
        if predictor.classes == classes:
            return np.arange(classes)
        raise ValueError(
            f"dataset {data.name}: {classes} classes ({_listed(data.class_names)}), the model has "
            f"{predictor.classes}, which cannot be taken in the same order. --labels takes a file "
            "with the names of the model's classes, one a line."
        )
    names = predictor.class_names
    outputs = {name: n for n, name in enumerate(names)} if len(set(names)) == len(names) else {}
    if names == imagenet_class_names():
        outputs = {**outputs, **imagenet_ids()}
    for known in (data.class_ids, data.class_names):
        if all(name in outputs for name in known):
            class_of = np.full(predictor.classes, classes)
            class_of[[outputs[name] for name in known]] = np.arange(classes)
            return class_of
    unknown = [name for name in data.class_ids if name not in outputs]
    raise ValueError(
        f"dataset {data.name}: {len(unknown)} of its {classes} classes are not among the model's "
        f"{predictor.classes}, such as {unknown[0]!r}. The data set's: {_listed(data.class_ids)}; "
        f"the model's: {_listed(names)}. --labels takes a file with other names of the model's "
        "classes, one a line; --by_order takes both lists in the same order."
    )


def is_named(predictor: Predictor) -> bool:
    """Whether a network's classes have names of their own, rather than "class 0" and so on."""
    return predictor.class_names != [f"class {n}" for n in range(predictor.classes)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_CLASSES:,} more" if len(names) > SHOWN_CLASSES else ""
    return ", ".join(map(printable, names[:SHOWN_CLASSES])) + more


def main(argv: list[str]) -> None:
    del argv  # cli.run lets none through
    args = flags.FLAGS
    data = load_data(args.dataset, split_test=args.split, strict=args.strict, with_train=False)
    print(summary(data, "evaluated"), flush=True)
    known = len(data.skipped)
    predictor = load_predictor(args.model, args.labels, args.input_range, args.trust)
    data = data.with_input_size(predictor.input_size)
    if not is_named(predictor):
        print("  the model's classes have no names: taken in the order of the data set's")
    start = time.perf_counter()
    try:
        accuracy = evaluate(
            predictor, data, batch=args.batch, limit=args.limit, by_order=args.by_order
        )
    except tf.errors.OpError as error:
        raise (data.failure or error) from error
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


def define_flags() -> None:
    flags.DEFINE_string("model", None, "A .keras, .tflite or .onnx file, SavedModel, or variant.")
    flags.DEFINE_string("dataset", None, "Name of a data set; see training.data.load_data.")
    flags.DEFINE_string("split", None, "Part of it: a TFDS split, a folder's part, or all.")
    flags.DEFINE_string("output", None, "Folder for evaluation.json, per_class.csv, confusion.png.")
    flags.DEFINE_string("labels", None, "Names of the model's classes, one a line.")
    flags.DEFINE_bool("by_order", False, "Take the model's classes in the data set's order.")
    cli.define_input_range()
    cli.define_trust()
    flags.DEFINE_string("variant", None, "Whose published top-1 to show, if no name tells.")
    flags.DEFINE_integer("limit", None, "At most so many pictures, evenly spread.", lower_bound=1)
    flags.DEFINE_integer("batch", BATCH_SIZE, "Pictures in memory at once.", lower_bound=1)
    flags.DEFINE_bool("strict", False, "Stop at the first picture that cannot be read.")
    flags.mark_flags_as_required(["model", "dataset"])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
