"""Draws a LeViT as a diagram: its layers from the picture to the classes, with shapes."""

from __future__ import annotations

from pathlib import Path

import keras

from levit_common.figures import make_figure, save_figure
from levit_tf.keras_graph.introspection import classifier_of, grids_of, variant_of
from levit_tf.variants import STAGES

_COLOURS = {"stem": "#cfe2f3", "stage": "#d9ead3", "down": "#fce5cd", "head": "#ead1dc"}


def network_rows(model: keras.Model) -> list[tuple[str, str, str]]:
    """Lists the parts of a LeViT, first to last.

    Args:
      model: a LeViT in train form.

    Returns:
      (kind, description, output shape) of each part; kind is "stem", "stage", "down" or "head".

    Raises:
      ValueError: `model` is not a LeViT in train form.
    """
    variant, grids = variant_of(model), grids_of(model)
    height, width, channels = model.input_shape[1:]
    rows = [("stem", "picture", f"{height} x {width} x {channels}")]
    for n, filters in enumerate(variant.stem_filters, start=1):
        shape = model.get_layer(f"stem_conv{n}").output.shape[1:]
        rows.append(("stem", f"3x3 convolution, stride 2, {filters}", " x ".join(map(str, shape))))
    for stage in range(STAGES):
        dim, shape = variant.embed_dim[stage], "{} x {} x {}"
        if stage > 0:
            heads = variant.downsample_num_heads(stage)
            rows.append(
                (
                    "down",
                    f"subsampling attention, {heads} heads of {variant.key_dim}; MLP",
                    shape.format(*grids[stage], dim),
                )
            )
        rows.append(
            (
                "stage",
                f"{variant.depth[stage]} x [attention, {variant.num_heads[stage]} heads of "
                f"{variant.key_dim}; MLP x{variant.mlp_ratio}]",
                shape.format(*grids[stage], dim),
            )
        )
    classifier = classifier_of(model)
    if classifier is not None:
        rows.append(("head", "mean over tokens", str(variant.embed_dim[-1])))
        heads = "class head" if classifier.heads == "single" else "class and distillation head"
        rows.append(("head", heads, f"{classifier.classes} classes"))
    return rows


def draw_network(model: keras.Model, path: Path) -> None:
    """Draws `network_rows` as boxes.

    Args:
      model: a LeViT in train form.
      path: the PNG file to write.
    """
    rows = network_rows(model)
    figure = make_figure(6, 0.55 * len(rows) + 0.6)
    axes = figure.subplots()
    for number, (kind, text, shape) in enumerate(rows):
        y = -number
        box = {"boxstyle": "round,pad=0.45", "facecolor": _COLOURS[kind], "edgecolor": "#444444"}
        axes.text(0.36, y, text, ha="center", va="center", fontsize=9, bbox=box)
        axes.text(0.98, y, shape, ha="right", va="center", fontsize=9, family="monospace")
        if number:
            arrow = {"arrowstyle": "->", "color": "#444444"}
            axes.annotate("", (0.36, y + 0.28), (0.36, y + 0.72), arrowprops=arrow)
    axes.set(xlim=(0, 1), ylim=(-len(rows) + 0.4, 0.6))
    axes.set_axis_off()
    axes.set_title(f"{model.name}: {model.count_params():,} parameters")
    save_figure(figure, path)
