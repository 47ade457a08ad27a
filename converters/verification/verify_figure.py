"""Draws the differences of two networks, layer by layer."""

from __future__ import annotations

from pathlib import Path

from converters.verification.verify_compare import LayerDifferences
from levit_common.figures import make_figure, save_figure


def draw_layers(layers: LayerDifferences, title: str, path: Path) -> None:
    """Draws the difference of each layer, which is the quantisation error for a quantised file.

    Args:
      layers: result of `converters.verification.verify_compare.compare_layers`.
      title: title of the figure.
      path: the PNG file to write.

    Raises:
      ImportError: Matplotlib is not installed.
      ValueError: no layer was compared.
    """
    drawn = {name: found for name, found in layers.layers.items() if found is not None}
    if not drawn:
        raise ValueError("No layer has the same name in both files: there is nothing to draw.")
    figure = make_figure(max(6, 0.2 * len(drawn)), 5)
    axes = figure.subplots()
    places = range(len(drawn))
    axes.plot(places, [found.relative for found in drawn.values()], "o-", label="largest")
    scale = [found.relative / found.maximum if found.maximum else 0 for found in drawn.values()]
    means = [found.mean * factor for found, factor in zip(drawn.values(), scale, strict=True)]
    axes.plot(places, means, "o-", label="mean")
    axes.set_yscale("log" if all(means) else "linear")
    axes.set_xticks(places, drawn, rotation=90, fontsize=7)
    axes.set(ylabel="difference / largest value expected", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)
