"""What an evaluation found, beside what the paper says, as a table and as files."""

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

# Above this, the names of classes on the axes of the confusion picture would not be readable.
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
    """How often a network is right.

    Attributes:
      top1: share of pictures whose likeliest class is theirs, 0..1.
      top5: share of pictures whose class is among the five likeliest.
      pictures: number of pictures that counted.
      unlabelled: number of pictures without any label, which did not (ImageNet-ReaL has such).
      class_pictures: (classes,) pictures of each class; one with several counts for each of them.
      class_correct: (classes,) how many of them were classified right.
      confusion: (classes, classes + 1) pictures by their class and by the class predicted, the last
        column for classes that the data set has not; None where pictures have several classes.
    """

    top1: float
    top5: float
    pictures: int
    unlabelled: int
    class_pictures: np.ndarray
    class_correct: np.ndarray
    confusion: np.ndarray | None


def paper_top1(model: str, dataset: str, split: str | None = None) -> float | None:
    """The paper's top-1 in percent, where it has the variant and the set; nobody measured it here.

    Args:
      model: a variant, or a file that is named after one, such as "runs/levit256-int8.tflite".
      dataset: see `training.data.load_data`.
      split: None for the usual one; nothing is published of others.
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
    """Writes `evaluation.json`, `per_class.csv` and, for pictures of one class, `confusion.png`.

    Args:
      folder: where to; it is created. Existing files are replaced.
      summary: what the JSON file says.
      accuracy: see there.
      data: names the classes.
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
