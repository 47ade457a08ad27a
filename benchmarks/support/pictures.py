"""Pictures of what a benchmark has found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from levit_common.figures import make_figure, save_figure

Lines = Mapping[str, Iterable[tuple]]


def draw_bars(path: Path, values: dict[str, float], xlabel: str) -> None:
    """A picture of one number each: `values` by name, drawn from above."""
    figure = make_figure(7, 0.4 * len(values) + 1)
    axes = figure.subplots()
    bars = axes.barh(list(values), list(values.values()))
    axes.bar_label(bars, fmt="{:.3g}", padding=3)
    axes.set(xlabel=xlabel)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    save_figure(figure, path)


def draw_lines(
    path: Path,
    panels: Mapping[str, Lines],
    xlabel: str,
    ylabel: str = "",
    *,
    styles: Mapping[str, Mapping[str, object]] | None = None,
    has_log_x: bool = False,
    shares_axes: bool = False,
    **settings: object,
) -> None:
    """A picture of one or more panels with lines.

    Args:
      path: the PNG file.
      panels: title -> label of a line -> its points: (x, y), or (x, y, what is written beside it).
      xlabel: of all panels.
      ylabel: of all panels.
      styles: label -> what is special about a line, as Matplotlib's `Axes.plot` takes it.
      has_log_x: whether the x axis is logarithmic.
      shares_axes: whether all panels have the same scale.
      **settings: more of a panel, as Matplotlib's `Axes.set` takes it.
    """
    columns = min(2, len(panels))
    figure = make_figure(1 + 5 * columns, 4 * -(-len(panels) // columns))
    share = {"sharex": shares_axes, "sharey": shares_axes}
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False, **share)
    for axes, (title, lines) in zip(grid.flat, panels.items(), strict=False):
        for label, points in lines.items():
            x, y, *names = zip(*points, strict=True)
            style = {"marker": "o", "ms": 4, **(styles or {}).get(label, {})}
            axes.plot(x, y, label=label, **style)
            for place in zip(x, y, *names, strict=True) if names else ():
                axes.annotate(
                    place[2], place[:2], fontsize=6, xytext=(3, 3), textcoords="offset points"
                )
        axes.set(title=title, **settings)
        axes.grid(alpha=0.3)
        if has_log_x:
            _plain_log_ticks(axes)
    figure.supxlabel(xlabel)
    figure.supylabel(ylabel)
    grid[0, 0].legend(fontsize=7)
    save_figure(figure, path)


def _plain_log_ticks(axes) -> None:
    """Makes the x axis logarithmic, with 1, 2, 5, 10, ... written out as its ticks."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [digit * 10**power for power in range(-3, 6) for digit in (1, 2, 5)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.get_xaxis().set_major_formatter("{x:g}")
    axes.minorticks_off()
