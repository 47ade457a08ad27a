"""Draws a LeViT: its layers with shapes, its attention biases, and its attention on pictures.

    python -m levit_tf.visualize --model=LeViT256 --output=pictures photo.jpg
    python -m levit_tf.visualize --model=levit256.keras --output=pictures --point=0.3,0.6 photo.jpg

Writes network.png and attention_biases.png, and for each picture attention-NAME.png. The model is a
`.keras` file of the train form, since a fused model has no attention layers. To see how far a
quantised file is from its model, layer by layer, use `python -m converters.verify`.
"""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
from absl import flags

from levit_common import cli
from levit_common.figures import make_figure, save_figure
from levit_common.model_sources import TRAIN_FORM_HELP
from levit_common.picture_files import distinct_stems
from levit_tf.applications import load_by_name
from levit_tf.drawing.attention_maps import attention_layers, attention_maps, bias_picture
from levit_tf.drawing.network_diagram import draw_network
from levit_tf.keras_graph.properties import known_input_range
from levit_tf.pictures.images import load_images
from levit_tf.sizes import fixed_size


def draw_attention_biases(model: keras.Model, path: Path) -> None:
    """Draws the bias tables: one row per attention layer, one column per head.

    The middle of a table is the position of the query itself. Each table has its own colour scale,
    blue below zero and red above, as in figure 5 of the paper.

    Args:
      model: a LeViT in train form.
      path: the PNG file to write.
    """
    layers = attention_layers(model)
    columns = max(layer.num_heads for layer in layers)
    figure = make_figure(1 + 0.8 * columns, 0.4 + 0.85 * len(layers))
    figure.suptitle(f"{model.name}: attention bias by offset of key to query, a column a head")
    all_axes = figure.subplots(len(layers), columns, squeeze=False)
    for layer, row in zip(layers, all_axes, strict=True):
        tables = keras.ops.convert_to_numpy(layer.attention_biases)
        for head, axes in enumerate(row):
            if head >= layer.num_heads:
                axes.set_visible(False)
                continue
            picture = bias_picture(tables[head], layer.table_grid)
            largest = max(float(np.abs(picture).max()), np.finfo(np.float32).tiny)
            axes.imshow(picture, cmap="RdBu_r", vmin=-largest, vmax=largest)
            axes.set(xticks=[], yticks=[])
        _name_row(row[0], layer)
    save_figure(figure, path)


def draw_attention_maps(
    model: keras.Model, pixels: np.ndarray, point: tuple[float, float], path: Path
) -> None:
    """Draws what one point of a picture attends to: one row per attention layer, one column per
    head; the first column is the mean of the heads.

    Args:
      model: a LeViT in train form.
      pixels: (height, width, 3), RGB 0..255, of the model's input size.
      point: (y, x) of the query, as fractions of height and width.
      path: the PNG file to write.
    """
    layers = attention_layers(model)
    takes = known_input_range(model, None, f"Model {model.name!r}")
    maps = attention_maps(model, takes.of_pixels(pixels), point)
    columns = 1 + max(layer.num_heads for layer in layers)
    figure = make_figure(1 + 0.8 * columns, 0.4 + 0.85 * len(layers))
    figure.suptitle(f"{model.name}: attention of the marked place; all heads, then each")
    height, width = pixels.shape[:2]
    for layer, row in zip(layers, figure.subplots(len(layers), columns), strict=True):
        heads = maps[layer.name]
        for axes, picture in zip(row, [heads.mean(axis=0), *heads], strict=False):
            axes.imshow(pixels.astype(np.uint8), extent=(0, width, height, 0))
            axes.imshow(picture, cmap="inferno", alpha=0.65, extent=(0, width, height, 0))
            axes.plot(point[1] * width, point[0] * height, "c+", markersize=5)
        for column, axes in enumerate(row):
            axes.set(xticks=[], yticks=[])
            axes.set_visible(column <= layer.num_heads)
        _name_row(row[0], layer)
    save_figure(figure, path)


def _name_row(axes, layer: keras.layers.Layer) -> None:
    name = layer.name.removeprefix("stages_").removesuffix("_attn").replace("_blocks_", ".")
    axes.set_ylabel(name.replace("_downsample", "\ndown"), fontsize=7)


def main(*pictures: str) -> None:
    args = flags.FLAGS
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    model = load_by_name(args.model)
    attention_layers(model)  # refuses other models before anything is written
    images = load_images(pictures, fixed_size(model, args.model))
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in (
        ("network.png", draw_network),
        ("attention_biases.png", draw_attention_biases),
    ):
        draw(model, folder / name)
        print(f"written: {folder / name}")
    for stem, pixels in zip(distinct_stems(pictures), images, strict=True):
        path = folder / f"attention-{stem}.png"
        draw_attention_maps(model, pixels, _point(args.point), path)
        print(f"written: {path}")


def _point(text: str) -> tuple[float, float]:
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError:
        y = x = -1.0
    if not (0 <= y < 1 and 0 <= x < 1):
        raise ValueError(f"--point: expected Y,X, two shares in [0, 1). Received: {text!r}")
    return y, x


def define_flags() -> None:
    flags.DEFINE_string("model", None, TRAIN_FORM_HELP)
    flags.DEFINE_string("output", None, "Folder to write the PNG files to.")
    flags.DEFINE_string(
        "point", "0.5,0.5", "Y,X of the point whose attention is drawn, as fractions of the size."
    )
    flags.mark_flags_as_required(["model", "output"])


def check(*pictures: str) -> None:
    _point(flags.FLAGS.point)
    if os.path.exists(flags.FLAGS.output) and not os.path.isdir(flags.FLAGS.output):
        raise ValueError(f"--output={flags.FLAGS.output}: a file; expected a folder.")


COMMAND = cli.Command(main, define_flags, check)

if __name__ == "__main__":
    COMMAND.run()
