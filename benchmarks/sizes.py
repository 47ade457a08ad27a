"""Accuracy of one trained network at other input sizes: whole attention, and attention in windows.

    python -m benchmarks.sizes --model=runs/mine/final.keras --data=FOLDER

The tables of attention biases are resized to each size (`levit_tf.transfer_weights`); with windows
as wide as the grid that the network was trained on, or a token less where that is odd, they are
used as they are, and smaller pictures use a part of them. Pictures are the held-out ones of the
folder, resized and cropped by the usual preprocessing. Prints top-1 with its standard error and the
multiply-adds of a picture, and draws the curve.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from absl import flags

import levit_tf
from benchmarks.support import options, results
from levit_common import cli
from levit_common.arrays import spread_indices, standard_error
from levit_tf.keras_graph.introspection import classifier_of, grids_of, variant_of
from levit_tf.pictures.labelled_pictures import LabelledPictures, labelled_pictures
from levit_tf.pictures.run_pictures import seen_in_training
from levit_tf.weights.loading import load_train_form

WHOLE, WINDOWS = "whole", "windows"


def resized(model: keras.Model, size: int, window: int | None) -> keras.Model:
    """The trained network for another size, in windows with the tables that it has."""
    classifier = classifier_of(model)
    target = levit_tf.LeViT(
        variant_of(model),
        input_shape=(size, size, 3),
        classes=classifier.classes,
        heads="single" if classifier.heads == "single" else "average",
        classifier_activation=None,
        attention_window=window,
        bias_size=model.input_shape[1] if window else None,
    )
    levit_tf.transfer_weights(model, target)
    return target


def top1(model: keras.Model, pictures: LabelledPictures) -> float:
    """Share of the readable pictures that are classified as their label, 0..1."""
    right = count = 0
    for images, labels in pictures.batches():
        logits = model.predict_on_batch(levit_tf.preprocess_input(images.astype(np.float32)))
        right += int(np.count_nonzero(np.asarray(logits).argmax(axis=1) == labels))
        count += len(labels)
    return right / count


def main() -> None:
    args = flags.FLAGS
    model = load_train_form(args.model)
    names = levit_tf.model_properties(model).class_names
    native = model.input_shape[1]
    if names is None or native is None:
        raise ValueError(f"--model={args.model}: names no classes, or has no size of its own.")
    grid, _ = grids_of(model)[0]
    rows = []
    for size in map(int, args.sizes):
        pictures = labelled_pictures(args.data, names, (size, size), seen_in_training(args.model))
        if args.limit:
            pictures = pictures.only(spread_indices(len(pictures), args.limit))
        for kind, window in ((WHOLE, None), (WINDOWS, grid // 2 * 2)):
            if window == grid and size == native:
                continue  # one window, as large as the tables: whole attention
            network = resized(model, size, window)
            share = top1(network, pictures)
            error = standard_error(share, len(pictures))
            megas = levit_tf.count_flops(network) / 1e6
            rows.append((size, kind, 100 * share, 100 * error, len(pictures), megas))
            print(*rows[-1], flush=True)
    columns = ("input", "attention", "top-1, %", "standard error", "pictures", "MFLOPs")
    folder = results.publish("sizes", columns, rows, args.output)
    _draw(rows, native, folder / "sizes.png")


def _draw(rows: list[tuple], native: int, path: Path) -> None:
    from levit_common.figures import make_figure, save_figure

    figure = make_figure(6, 4)
    axes = figure.subplots()
    for kind in dict.fromkeys(row[1] for row in rows):
        some = [row for row in rows if row[1] == kind]
        axes.errorbar(
            *zip(*((row[0], row[2]) for row in some), strict=True),
            yerr=[row[3] for row in some],
            fmt="o-",
            capsize=3,
            label=f"{kind} attention",
        )
    axes.axvline(native, color="0.7", lw=1)
    axes.set(xlabel=f"input, pixels (trained at {native})", ylabel="top-1, %")
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Trained network, a .keras file.", required=True)
    flags.DEFINE_string("data", None, "Folder of pictures, a sub-folder a class.", required=True)
    sizes = ["96", "128", "160", "192", "224", "256", "288", "320"]
    flags.DEFINE_list("sizes", sizes, "Sides of the pictures, pixels.")
    flags.DEFINE_integer(
        "limit", None, "How many pictures are used, evenly spread; all by default.", lower_bound=1
    )
    options.define_output()


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
