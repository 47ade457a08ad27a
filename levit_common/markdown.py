"""Markdown tables that are also readable on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def markdown_table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Returns a table whose cells are padded to the width of their column.

    Args:
      rows: cells; the first row is the header.
      right: indices of the right-aligned columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(f"| {' | '.join(cells)} |")
    rule = (
        "-" * (width + 1) + (":" if number in right else "-") for number, width in enumerate(widths)
    )
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])
