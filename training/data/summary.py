"""A summary of a data set, printed at the beginning of runs and evaluations."""

from __future__ import annotations

from levit_common.picture_files import printable
from levit_common.spelling import shortened
from levit_tf.pictures.picture_folders import skipped_text
from training.data.dataset import Dataset

SHOWN_CLASSES = 20


def summary(data: Dataset, held_out: str = "held out") -> str:
    """Summarises the pictures, classes, held-out part, skipped and ignored files of a data set.

    Args:
      data: the data set.
      held_out: the label for the held-out part in the summary.
    """
    details = data.details
    classes = len(data.class_names)
    total = data.num_train + data.num_test - data.num_seen
    names = data.class_names
    if details.class_counts is not None:
        total = sum(details.class_counts)
        names = [f"{name} {n:,}" for name, n in zip(names, details.class_counts, strict=True)]
    first = shortened(names, SHOWN_CLASSES)
    lines = [f"{printable(data.name)}: {total:,} pictures, {classes:,} classes: {first}"]
    if data.num_test:
        where = f", {printable(details.held_out_from)}" if details.held_out_from else ""
        seen = f"; {data.num_seen:,} of them are trained on as well" if data.num_seen else ""
        lines.append(f"  {held_out}: {data.num_test:,}{where}{seen}")
    if data.skipped:
        lines.append(f"  skipped: {skipped_text(data.skipped)}")
    if details.others:
        lines.append(f"  not looked at: {shortened(details.others)}")
    return "\n".join(lines)
