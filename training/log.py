"""The log of a run: one row an epoch, as JSON, as CSV and for TensorBoard."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import tensorflow as tf

from levit_tf.files import atomic_path
from training.tensorboard import TensorBoard

JSON_FILE, CSV_FILE, TENSORBOARD = "log.json", "log.csv", "tensorboard"


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
      step: rows after this step are dropped: a run that goes on from there writes them again.
      writes: whether files are written; of several workers only one does.
    """

    def __init__(self, folder: Path, step: int = 0, writes: bool = True):
        self._folder = folder
        self._writes = writes
        rows = json.loads((folder / JSON_FILE).read_text()) if (folder / JSON_FILE).exists() else []
        self.rows = [row for row in (Row(**row) for row in rows) if row.step <= step]
        self._board = TensorBoard(folder / TENSORBOARD) if writes else None

    def add(self, row: Row) -> None:
        """Appends a row, to the files too."""
        self.rows.append(row)
        if not self._writes:
            return
        rows = [dataclasses.asdict(row) for row in self.rows]
        with atomic_path(self._folder / JSON_FILE, overwrite=True) as temporary:
            Path(temporary).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        with (
            atomic_path(self._folder / CSV_FILE, overwrite=True) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
            writer.writeheader()
            writer.writerows(rows)
        figures = {name: value for name, value in rows[-1].items() if value is not None}
        self._board.scalars(figures, row.step)

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
