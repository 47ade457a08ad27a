"""The log of a run: one row per epoch, as JSON, as CSV and for TensorBoard.

Lines are only ever appended to `log.csv`. A run that resumes from before its last row writes the
epochs since then again, further down, with the number of the attempt and the step that it began
after. The superseded rows stay in the file; `effective` and `log.json` leave them out.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from levit_common.files import atomic_path, naming
from levit_common.json_files import write_json
from training.tensorboard import TensorBoard

JSON_FILE, CSV_FILE, TENSORBOARD = "log.json", "log.csv", "tensorboard"
# Columns of the CSV file in addition to those of a row.
ATTEMPT, BEGAN = "attempt", "attempt_began_after_step"


@dataclasses.dataclass(frozen=True)
class Row:
    """The figures of one epoch.

    Attributes:
      epoch: number of the epoch, counted from 1.
      step: optimizer steps since the beginning of the run.
      learning_rate: learning rate of the epoch.
      loss: mean over the epoch's steps.
      top1: top-1 on held-out pictures, 0..1; None if the epoch was not evaluated.
      ema_top1: top-1 of the averaged weights; None if there is no average.
      images_per_second: training speed since the last start.
      data_wait: share of the time spent waiting for data, 0..1.
    """

    epoch: int
    step: int
    learning_rate: float
    loss: float
    top1: float | None
    ema_top1: float | None
    images_per_second: float
    data_wait: float

    @property
    def ships_average(self) -> bool:
        """Whether to ship the averaged weights, which is so unless they are worse."""
        return self.ema_top1 is not None and self.ema_top1 >= (self.top1 or 0.0)

    @property
    def score(self) -> float | None:
        """Top-1 of the weights to ship; None if the epoch was not evaluated."""
        return self.ema_top1 if self.ships_average else self.top1


class Log:
    """The rows of a run in a folder.

    Args:
      folder: the folder of the run; it exists.
      step: the step that the run resumes from; later rows no longer count.
      writes: whether to write files; only one of several workers does.
      rows: the log in the checkpoint of that step; None to read it from the folder.
      attempt: number of times the run was started, including this one.
    """

    def __init__(
        self,
        folder: Path,
        step: int = 0,
        writes: bool = True,
        rows: Sequence[Row] | None = None,
        attempt: int = 1,
    ):
        self._folder = folder
        self._writes = writes
        self._place = {ATTEMPT: attempt, BEGAN: step}
        found = read_rows(folder) if rows is None else rows
        self.rows = [row for row in found if row.step <= step]
        self._columns: list[str] | None = None  # of the CSV file, once it was read
        self._board = TensorBoard(folder / TENSORBOARD) if writes else None
        if writes and self.rows:
            self._write(self._missing())

    def add(self, row: Row) -> None:
        """Appends a row, also to the files."""
        missing = self._missing() if self._writes and self._columns is None else []
        self.rows.append(row)
        if not self._writes:
            return
        self._write([*missing, row])
        values = dataclasses.asdict(row)
        figures = {name: value for name, value in values.items() if value is not None}
        self._board.scalars(figures, row.step)

    def as_json(self) -> list[dict[str, Any]]:
        """Returns the rows as JSON-serialisable dicts."""
        return [dataclasses.asdict(row) for row in self.rows]

    def images(self, name: str, images: tf.Tensor, step: int) -> None:
        """Shows pictures, (n, height, width, 3) uint8, in TensorBoard."""
        if self._writes:
            self._board.images(name, images, step)

    def history(self) -> dict[str, list[float]]:
        """Returns the rows by column, None as NaN, for `training.pictures.learning_curve`."""
        return {
            field.name: [
                float("nan") if getattr(row, field.name) is None else getattr(row, field.name)
                for row in self.rows
            ]
            for field in dataclasses.fields(Row)
        }

    def _write(self, rows: Iterable[Row]) -> None:
        """Appends rows to the CSV file, and writes all of them to the JSON file."""
        lines = [{**dataclasses.asdict(row), **self._place} for row in rows]
        _append_lines(self._folder / CSV_FILE, self._columns, lines)
        write_json(self._folder / JSON_FILE, self.as_json())

    def _missing(self) -> list[Row]:
        """Reads the CSV file, updates its columns if needed, and returns missing rows."""
        path = self._folder / CSV_FILE
        header, lines = _read_csv(path)
        others = [name for name in header if name and name not in _COLUMNS]
        self._columns = _COLUMNS + others
        if header != self._columns:
            _rewrite(path, self._columns, lines)
        pairs = zip(effective(_parsed(lines)), self.rows, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        return self.rows[same:]


_NAMES = [field.name for field in dataclasses.fields(Row)]
_COLUMNS = [*_NAMES, ATTEMPT, BEGAN]
# Errors from reading a damaged or unreadable JSON file.
_UNREADABLE = (OSError, ValueError, TypeError, AttributeError, RecursionError)


def effective(rows: Iterable[Row]) -> list[Row]:
    """Returns the rows that were not superseded by a later one."""
    found: list[Row] = []
    for row in rows:
        while found and found[-1].step >= row.step:
            found.pop()
        found.append(row)
    return found


def read_rows(folder: Path) -> list[Row]:
    """Returns the rows that count, from the JSON file, or from the CSV file if that is damaged."""
    try:
        return _read_json_rows(folder)
    except _UNREADABLE:
        return read_csv_rows(folder)


def _read_json_rows(folder: Path) -> list[Row]:
    """Returns the rows in the JSON file; raises `_UNREADABLE` if it is missing or damaged."""
    return rows_of(json.loads((folder / JSON_FILE).read_text(encoding="utf-8")))


def agreed_rows(folder: Path, step: int) -> list[Row] | None:
    """Returns the rows up to a step if both files have the same ones, else None.

    Neither file has a checksum, so damage to one alone could stay unnoticed.
    """
    try:
        found = (_read_json_rows(folder), read_csv_rows(folder))
    except FileNotFoundError:
        found = ([], read_csv_rows(folder))
    except _UNREADABLE:
        return None
    first, second = ([row for row in rows if row.step <= step] for rows in found)
    return first if first == second else None


def best_step(rows: Iterable[Row]) -> int | None:
    """Returns the step of the first row with the best score; None if no row has a score."""
    scored = [row for row in rows if row.score is not None]
    return max(scored, key=lambda row: row.score).step if scored else None


def rows_of(content: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Makes rows from the result of `Log.as_json`."""
    return [_row(row) for row in content]


def read_csv_rows(folder: Path) -> list[Row]:
    """Returns the rows that count from the CSV file, which also contains superseded ones."""
    return effective(_parsed(_read_csv(folder / CSV_FILE)[1]))


def _row(values: Mapping[str, Any]) -> Row:
    """Makes a row from the log of this or an earlier version; missing values are None."""
    row = Row(**{name: values.get(name) for name in _NAMES})
    if not isinstance(row.epoch, int) or not isinstance(row.step, int):
        raise ValueError(f"Not a row of a log: {values}")
    return row


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the columns and the unparsed lines of a CSV file; both empty if there is no file."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return [], []
    reader = csv.DictReader(io.StringIO(text.replace("\0", "")), restkey="", restval="")
    lines = []
    with contextlib.suppress(csv.Error):  # damage that looks like one endless field
        lines.extend({name: value for name, value in line.items() if name} for line in reader)
    return list(reader.fieldnames or []), lines


def _parsed(lines: Iterable[Mapping[str, str]]) -> list[Row]:
    """Parses the intact lines of a CSV file."""
    rows = []
    for line in lines:
        try:
            rows.append(_row({name: _value(line.get(name, "")) for name in _NAMES}))
        except ValueError:  # half a line, as left by a full disk
            continue
    return rows


def _value(text: str) -> int | float | str | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _rewrite(path: Path, columns: Sequence[str], lines: Iterable[Mapping[str, str]]) -> None:
    """Rewrites a CSV file with the columns of this version, keeping all its lines."""
    with (
        atomic_path(path, overwrite=True) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(lines)


def _append_lines(path: Path, columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> None:
    """Appends all lines completely, or nothing."""
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns).writerows(lines)
    # Unbuffered: closing the file after an error would write a buffer once more.
    with naming(path), open(path, "ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        ends_in_a_line = file.read(1) in (b"\n", b"")
        content = (b"" if ends_in_a_line else b"\r\n") + text.getvalue().encode()
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            file.truncate(end)
            raise
