"""Measures top-1, top-5 and per-class accuracy of a network, by the paper's protocol."""

from __future__ import annotations

import sys

import keras
import numpy as np

from levit_common.spelling import shortened
from levit_lite.class_names import imagenet_class_names, top_classes
from levit_lite.prediction.predictor import Predictor
from training.choices import EVALUATION_BATCH
from training.data import Dataset
from training.data.loading import imagenet_ids
from training.data.summary import SHOWN_CLASSES
from training.evaluation.report import Accuracy

TOP = 5


def evaluate(
    predictor: Predictor,
    data: Dataset,
    *,
    batch: int = EVALUATION_BATCH,
    limit: int | None = None,
    by_order: bool = False,
) -> Accuracy:
    """Classifies the held-out pictures of a data set.

    Args:
      predictor: predicts the data set's classes or more; a prediction of any other class is wrong.
      data: the data set, with the predictor's input size.
      batch: number of pictures in memory at once.
      limit: largest number of pictures, evenly spread; None for all.
      by_order: see `class_of_output`.

    Returns:
      The accuracy. If a picture has a set of labels, each of them counts as correct.

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
        best = class_of[best]  # (n, 5), `classes` for classes that the data set lacks
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
    """Maps each output of a network to a class of the data set, or to the number of classes.

    Classes are matched by their names or, if the network has ImageNet's 1000, by their WordNet ids.
    So a network can be evaluated on a subset of its classes, and on folders in another order. If a
    network has no class names, its classes are assumed to be those of the data set, in that order.

    Args:
      predictor: the network.
      data: the data set.
      by_order: whether to assume that the outputs are in the order of the data set's classes,
        whatever names the network has.

    Returns:
      (predictor.classes,) int64.

    Raises:
      ValueError: the data set has classes that the network lacks.
    """
    classes = len(data.class_names)
    if by_order or not is_named(predictor):
        if predictor.classes == classes:
            return np.arange(classes)
        raise ValueError(
            f"dataset {data.name}: {classes} classes "
            f"({shortened(data.class_names, SHOWN_CLASSES)}), the model has {predictor.classes}, "
            "which cannot be taken in the same order. --labels takes a file with the names of the "
            "model's classes, one a line."
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
        f"{predictor.classes}, such as {unknown[0]!r}. The data set's: "
        f"{shortened(data.class_ids, SHOWN_CLASSES)}; the model's: "
        f"{shortened(names, SHOWN_CLASSES)}. --labels takes a file with other names of the model's "
        "classes, one a line; --by_order takes both lists in the same order."
    )


def is_named(predictor: Predictor) -> bool:
    """Whether a network's classes have real names, rather than "class 0" and so on."""
    return predictor.class_names != [f"class {n}" for n in range(predictor.classes)]
