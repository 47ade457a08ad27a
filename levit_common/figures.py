"""Draws PNG files with Matplotlib, which is imported on first use and needs no display."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from levit_common.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 110


def make_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of this size in inches.

    Raises:
      ImportError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'Drawing pictures needs matplotlib, which is missing: pip install "levit_tf[train]"'
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as a PNG file; an existing one is replaced."""
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png")
