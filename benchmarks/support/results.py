"""Results of a benchmark: a table on the terminal, the numbers as JSON, a picture."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import numbers
import os
import platform
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from benchmarks.support.options import command_name
from levit_common.files import atomic_path
from levit_common.markdown import markdown_table

_PACKAGES = (
    *("tensorflow", "keras", "ai-edge-litert", "onnxruntime", "openvino", "nncf", "torch"),
    *("timm", "transformers", "keras-cv-attention-models", "zeromodels", "numpy"),
)
# Those that decide how quick a matrix product is, in each precision.
_EXTENSIONS = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16"),
)


def machine() -> dict[str, object]:
    """The processor, its cores that may be used, and the versions of what is measured."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.date.today().isoformat(),
    }


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; columns of numbers are flushed right."""
    right = [
        number
        for number, column in enumerate(zip(*rows, strict=True))
        if all(isinstance(cell, (numbers.Real, type(None))) for cell in column)
    ]
    return markdown_table([columns, *(list(map(_cell, row)) for row in rows)], right)


def publish(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    folder: str,
    shown: Sequence[Sequence[object]] | None = None,
) -> Path:
    """Prints a table and writes it, see `write`, and into the page that `--page` names.

    Args:
      name, columns, rows, folder: see `write`.
      shown: cells to show in place of `rows`, where three digits are too few or too many.

    Returns:
      The folder.
    """
    text = table(columns, rows if shown is None else shown)
    print(text)
    path = write(name, columns, rows, folder)
    page = flags.FLAGS.page if "page" in flags.FLAGS and flags.FLAGS.is_parsed() else None
    if page:
        update_page(Path(page), name, text)
    return path


def update_page(page: Path, name: str, text: str) -> None:
    """Puts a table into a page of the documentation, with what made it, where and when.

    Args:
      page: a Markdown file with the lines `<!-- benchmark: NAME -->` and `<!-- end: NAME -->`. What
        is between them is replaced.
      name: of the benchmark.
      text: the table.

    Raises:
      ValueError: the page has no such lines.
    """
    begin, end = f"<!-- benchmark: {name} -->", f"<!-- end: {name} -->"
    content = page.read_text(encoding="utf-8")
    before, found, rest = content.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"{page} has no lines {begin} and {end} for the table to stand between")
    facts = machine()
    used = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    about = (
        f"`{_command()}`, {facts['date']}; {facts['processor']}, {facts['cores']} cores; {used}:"
    )
    lines = textwrap.fill(about, 100, break_on_hyphens=False, break_long_words=False)
    with atomic_path(page, overwrite=True) as temporary:
        Path(temporary).write_text(
            f"{before}{begin}\n{lines}\n\n{text}\n{end}{after}", encoding="utf-8"
        )


def _command() -> str:
    """Returns the command as typed, without the flags that say where the results go."""
    given = [word for word in sys.argv[1:] if not word.startswith(("--output", "--page"))]
    return shlex.join(["python", "-m", command_name(), *given])


def write(name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], folder: str) -> Path:
    """Writes a table as `NAME.json`, with the machine and the versions.

    Args:
      name: of the benchmark.
      columns: their names.
      rows: cells in the order of the columns; None where there is nothing.
      folder: where the JSON goes.

    Returns:
      The folder.
    """
    content = {
        "benchmark": name,
        **machine(),
        "rows": [dict(zip(columns, row, strict=True)) for row in rows],
    }
    path = Path(folder, f"{name}.json")
    with atomic_path(path, overwrite=True) as temporary:
        Path(temporary).write_text(
            json.dumps(content, indent=1, default=float) + "\n", encoding="utf-8"
        )
    return path.parent


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = [line.partition(":") for line in file]
    facts = {key.strip(): value.strip() for key, _, value in lines}
    known = facts.get("flags", "").split()
    has = [flag for flag in _EXTENSIONS if flag in known]
    return f"{platform.machine()}, {' '.join(has) or facts.get('model name', 'unknown')}"
