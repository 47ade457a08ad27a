"""Results of an evaluation beside the paper's, as a table and as files."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np

from levit_common.figures import make_figure, save_figure
from levit_common.files import atomic_path
from levit_common.json_files import write_json
from levit_tf.variants import Variant, get_variant
from training.data import Dataset

# With more classes than this, their names on the axes of the confusion plot would be unreadable.
NAMED_CLASSES = 40
# The paper's top-1 after fine-tuning, percent; ImageNet's is in `levit_tf.variants`.
_PAPER_CIFAR10 = {
    "LeViT128S": 97.5,
    "LeViT128": 97.6,
    "LeViT192": 98.2,
    "LeViT256": 98.1,
    "LeViT384": 98.0,
}


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """The accuracy of a network.

    Attributes:
      top1: share of pictures whose most probable class is correct, 0..1.
      top5: share of pictures with a correct class among the five most probable.
      pictures: number of evaluated pictures.
      unlabelled: number of pictures without any label, which do not count (ImageNet-ReaL has some).
      class_pictures: (classes,) number of pictures of each class; one with several labels counts
        for each.
      class_correct: (classes,) number of these that were classified correctly.
      confusion: (classes, classes + 1) number of pictures by true and by predicted class; the last
        column is for classes that the data set lacks. None if pictures have several labels.
    """

    top1: float
    top5: float
    pictures: int
    unlabelled: int
    class_pictures: np.ndarray
    class_correct: np.ndarray
    confusion: np.ndarray | None


def paper_top1(model: str, dataset: str, split: str | None = None) -> float | None:
    """Returns the paper's top-1 in percent for a variant and data set; None if it gives none.

    Args:
      model: a variant, or a file named after one, such as "runs/levit256-int8.tflite".
      dataset: see `training.data.load_data`.
      split: None for the usual split; nothing is published for others.
    """
    variant = _variant_in(model)
    name = dataset.removeprefix("tfds:").partition(":")[0]
    if variant is None or variant.published is None:
        return None
    if name == "imagenet2012" and split in (None, "validation"):
        return variant.published.top1
    if name == "cifar10" and split in (None, "test"):
        return _PAPER_CIFAR10.get(variant.name)
    return None


def _variant_in(model: str) -> Variant | None:
    words = re.split(r"[-_ .]", Path(model).name)
    for count in range(len(words), 0, -1):
        try:
            return get_variant("-".join(words[:count]))
        except ValueError:
            continue
    return None


def write_report(folder: Path, summary: dict[str, Any], accuracy: Accuracy, data: Dataset) -> None:
    """Writes `evaluation.json`, `per_class.csv` and, for single labels, `confusion.png`.

    Args:
      folder: folder to write to; it is created. Existing files are replaced.
      summary: the content of the JSON file.
      accuracy: the accuracy to write.
      data: the data set, for the names of the classes.
    """
    with (
        atomic_path(folder / "per_class.csv", overwrite=True) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(("label", "id", "name", "pictures", "correct", "top1"))
        classes = zip(
            data.class_ids,
            data.class_names,
            accuracy.class_pictures,
            accuracy.class_correct,
            strict=True,
        )
        for label, (class_id, name, total, right) in enumerate(classes):
            share = f"{right / total:.4f}" if total else ""
            table.writerow((label, class_id, name, total, right, share))
    if accuracy.confusion is not None:
        _draw_confusion(accuracy, data, folder / "confusion.png")
    write_json(folder / "evaluation.json", summary)


def _draw_confusion(accuracy: Accuracy, data: Dataset, path: Path) -> None:
    names = [*data.class_names, "another class"]
    columns = len(names) if accuracy.confusion[:, -1].any() else len(names) - 1
    totals = np.maximum(accuracy.class_pictures[:, None], 1)
    figure = make_figure(9, 8)
    axes = figure.add_subplot()
    shares = axes.imshow(100 * accuracy.confusion[:, :columns] / totals, vmin=0, vmax=100)
    figure.colorbar(shares, label="% of the pictures of a class", shrink=0.8)
    axes.set_title(f"{data.name}: top-1 {100 * accuracy.top1:.2f} % of {accuracy.pictures:,}")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if columns <= NAMED_CLASSES:
        axes.set_xticks(range(columns), names[:columns], rotation=90, fontsize=8)
        axes.set_yticks(range(len(names) - 1), names[:-1], fontsize=8)
    save_figure(figure, path)
