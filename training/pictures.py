"""Draws plots and pictures of a run as PNG files. Matplotlib is imported on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from levit_common.figures import make_figure, save_figure
from levit_tf.preprocessing import denormalize
from training.loop.epochs import History

SHEET_COLUMNS = 10
SHEET_IMAGES = 50
# Share of a target below which a class is not named; label smoothing gives one to every class.
_LEAST_SHARE = 0.1


def learning_curve(history: History, path: Path) -> None:
    """Plots training loss and held-out top-1, of raw and averaged weights, over the epochs.

    Args:
      history: see `training.log.Log.history`.
      path: the PNG file; an existing one is replaced.
    """
    figure = make_figure(8, 4)
    epochs = range(1, len(history["loss"]) + 1)
    loss_axes = figure.add_subplot()
    loss_axes.plot(epochs, history["loss"], "C0.-")
    loss_axes.set_xlabel("epoch")
    loss_axes.set_ylabel("training loss", color="C0")
    top1_axes = loss_axes.twinx()
    for column, label, style in (("top1", "raw weights", "C1.-"), ("ema_top1", "average", "C2.-")):
        # Some epochs may lack an evaluation, and some runs an average.
        found = [(n, 100 * x) for n, x in zip(epochs, history[column], strict=True) if x == x]
        if found:
            top1_axes.plot(*zip(*found, strict=True), style, label=label)
    top1_axes.set_ylabel("top-1 on held-out pictures, %")
    top1_axes.legend(loc="lower right")
    loss_axes.set_title(f"top-1 after {len(epochs)} epochs: {100 * history['top1'][-1]:.2f} %")
    loss_axes.grid(alpha=0.3)
    save_figure(figure, path)


def contact_sheet(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    path: Path,
) -> None:
    """Draws pictures with their predicted and true classes, wrong predictions first.

    Args:
      images: (n, height, width, 3) uint8; at most `SHEET_IMAGES` are drawn.
      labels: (n,) integers.
      probabilities: (n, classes).
      class_names: names of the classes in the order of the labels.
      path: the PNG file; an existing one is replaced.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = predicted != labels
    order = np.argsort(~wrong, kind="stable")[:SHEET_IMAGES]
    rows = -(-len(order) // SHEET_COLUMNS)
    figure = make_figure(SHEET_COLUMNS * 1.1, rows * 1.35 + 0.5)
    figure.suptitle(
        f"predicted / true: {wrong.sum()} of {len(labels)} wrong, shown first", fontsize=11
    )
    for place, index in enumerate(order, start=1):
        axes = figure.add_subplot(rows, SHEET_COLUMNS, place)
        axes.imshow(images[index])
        axes.set_axis_off()
        axes.set_title(
            f"{class_names[predicted[index]]} / {class_names[labels[index]]}",
            fontsize=9,
            color="red" if wrong[index] else "green",
        )
    save_figure(figure, path)


def batch_sheet(
    images: np.ndarray, targets: np.ndarray, class_names: Sequence[str], columns: int, path: Path
) -> None:
    """Draws pictures as a network in training sees them, with the classes that it is taught.

    Args:
      images: (n, height, width, 3) normalised pixels.
      targets: (n, classes) probabilities, mixed and smoothed.
      class_names: names of the classes in the order of the labels.
      columns: number of pictures in a row.
      path: the PNG file; an existing one is replaced.
    """
    pixels = np.round(denormalize(images)).clip(0, 255).astype(np.uint8)
    rows = -(-len(pixels) // columns)
    figure = make_figure(1.6 * columns, 1.85 * rows)
    for place, (picture, target) in enumerate(zip(pixels, targets, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(picture)
        axes.set_axis_off()
        taught = [n for n in np.argsort(-target) if target[n] >= _LEAST_SHARE] or [target.argmax()]
        axes.set_title(
            "\n".join(f"{class_names[n]} {target[n]:.0%}" for n in taught[:2]), fontsize=8
        )
    save_figure(figure, path)
