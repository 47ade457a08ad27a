"""The log of a run: one row an epoch, as JSON, as CSV and for TensorBoard.

`log.csv` is only ever appended to: a run that goes on from before its last row writes the epochs
since then again, below, with the number of the attempt and the step that it began after. Rows that
were superseded so stay where they are; `effective` leaves them out, as `log.json` does.
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
# Columns of the CSV file beside those of a row.
ATTEMPT, BEGAN = "attempt", "attempt_began_after_step"


@dataclasses.dataclass(frozen=True)
class Row:
    """One epoch.

    Attributes:
      epoch: its number, counted from 1.
      step: optimizer steps since the beginning of the run.
      learning_rate: of the epoch.
      loss: mean over the epoch's steps.
      top1: on held-out pictures, 0..1; None where the epoch was not evaluated.
      ema_top1: the same of the averaged weights; None without.
      images_per_second: of training; of what was run since the last start.
      data_wait: share of the time that training waited for data, 0..1.
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
        """Whether the averaged weights are the ones to ship: where they are not the worse ones."""
        return self.ema_top1 is not None and self.ema_top1 >= (self.top1 or 0.0)

    @property
    def score(self) -> float | None:
        """Top-1 of the weights to ship; None where the epoch was not evaluated."""
        return self.ema_top1 if self.ships_average else self.top1


class Log:
    """The rows of a run in a folder.

    Args:
      folder: of the run; it exists.
      step: that the run goes on from: later rows no longer count.
      writes: whether files are written; of several workers only one does.
      rows: the log as the checkpoint of that step has it; None to read that of the folder.
      attempt: how many times the run was started, this one included.
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
        self._columns: list[str] | None = None  # of the CSV file, once it was looked at
        self._board = TensorBoard(folder / TENSORBOARD) if writes else None
        if writes and self.rows:
            self._write(self._missing())

    def add(self, row: Row) -> None:
        """Appends a row, to the files too."""
        missing = self._missing() if self._writes and self._columns is None else []
        self.rows.append(row)
        if not self._writes:
            return
        self._write([*missing, row])
        values = dataclasses.asdict(row)
        figures = {name: value for name, value in values.items() if value is not None}
        self._board.scalars(figures, row.step)

    def as_json(self) -> list[dict[str, Any]]:
        """The rows as JSON takes them."""
        return [dataclasses.asdict(row) for row in self.rows]

    def images(self, name: str, images: tf.Tensor, step: int) -> None:
        """Shows pictures in TensorBoard: (n, height, width, 3) uint8."""
        if self._writes:
            self._board.images(name, images, step)

    def history(self) -> dict[str, list[float]]:
        """The rows by column, None as NaN: what `training.pictures.learning_curve` draws."""
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
        """Looks at the CSV file, and gives it the columns; the rows that it has lost."""
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
# What a damaged JSON file ends in, or one that cannot be read.
_UNREADABLE = (OSError, ValueError, TypeError, AttributeError, RecursionError)


def effective(rows: Iterable[Row]) -> list[Row]:
    """The rows that count: those that no later one has written again."""
    found: list[Row] = []
    for row in rows:
        while found and found[-1].step >= row.step:
            found.pop()
        found.append(row)
    return found


def read_rows(folder: Path) -> list[Row]:
    """The rows of a run that count, from its JSON file, or from its CSV file if that is damaged."""
    try:
        return _read_json_rows(folder)
    except _UNREADABLE:
        return read_csv_rows(folder)


def _read_json_rows(folder: Path) -> list[Row]:
    """The rows in the JSON file; raises `_UNREADABLE` where there are none, or damaged ones."""
    return rows_of(json.loads((folder / JSON_FILE).read_text(encoding="utf-8")))


def agreed_rows(folder: Path, step: int) -> list[Row] | None:
    """The rows up to a step, where both files have the same ones; None where they differ.

    Neither has a checksum, so that one alone may be damaged without a sign.
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
    """The step of the first row with the best score; None where none has a score."""
    scored = [row for row in rows if row.score is not None]
    return max(scored, key=lambda row: row.score).step if scored else None


def rows_of(content: Iterable[Mapping[str, Any]]) -> list[Row]:
    """What `Log.as_json` was made from."""
    return [_row(row) for row in content]


def read_csv_rows(folder: Path) -> list[Row]:
    """The rows of a run that count, from its CSV file, which has those that do not as well."""
    return effective(_parsed(_read_csv(folder / CSV_FILE)[1]))


def _row(values: Mapping[str, Any]) -> Row:
    """A row of whichever version of this log: what it does not have is None."""
    row = Row(**{name: values.get(name) for name in _NAMES})
    if not isinstance(row.epoch, int) or not isinstance(row.step, int):
        raise ValueError(f"Not a row of a log: {values}")
    return row


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the lines of a CSV file, as they are; none where there is no file."""
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
    """The lines of a CSV file that are whole."""
    rows = []
    for line in lines:
        try:
            rows.append(_row({name: _value(line.get(name, "")) for name in _NAMES}))
        except ValueError:  # half a line, as a full disk leaves it
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
    """Gives a CSV file other columns, those of another version; all of its lines stay."""
    with (
        atomic_path(path, overwrite=True) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(lines)


def _append_lines(path: Path, columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> None:
    """Appends whole lines, or nothing."""
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns).writerows(lines)
    # Without a buffer, which would be written once more when the file is closed.
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
