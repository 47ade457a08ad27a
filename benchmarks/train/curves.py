"""Time, accuracy and curves of runs of `training.main`, each begun with the network of the last.

    python -m benchmarks.train.curves --chain=runs/a,runs/b --chain=runs/a,runs/taught

Reads the logs of the runs, also of those that were stopped; nothing is trained. The table has a row
for each run: its epochs, its input, the hours that its steps took, and the top-1 of the last
evaluation on the held-out pictures, of the raw and the averaged weights. The picture shows the
top-1 of the weights to ship over all epochs of each chain.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.support import options, results
from levit_common import cli
from levit_common.arrays import standard_error
from training.checkpoints import record
from training.log import Row, read_rows


def rows_until_evaluated(run: str) -> list[Row]:
    """Returns the epochs of a run until the last one that was evaluated.

    Raises:
      ValueError: there is none.
    """
    rows = read_rows(Path(run))
    while rows and rows[-1].score is None:
        rows.pop()
    if not rows:
        raise ValueError(f"{run}: expected the folder of a run that has evaluated its network.")
    return rows


def row_of(run: str, rows: list[Row]) -> tuple:
    """Returns a run's row of the table."""
    about, last = record.read(Path(run)), rows[-1]
    size = about.config["batch_size"]
    steps = np.diff([row.step for row in rows], prepend=0)
    seconds = sum(n * size / row.images_per_second for n, row in zip(steps, rows, strict=True))
    error = standard_error(last.score, about.pictures["held-out"]["count"])
    shares = (last.top1, last.ema_top1, error)
    return (
        Path(run).name,
        last.epoch,
        "x".join(map(str, about.config["input_size"])),
        seconds / 3600,
        *(None if share is None else 100 * share for share in shares),
    )


def main() -> None:
    args = flags.FLAGS
    chains = [chain.split(",") for chain in args.chain]
    logs = {run: rows_until_evaluated(run) for chain in chains for run in chain}
    columns = ("run", "epochs", "input", "hours", "top-1, %", "of the average", "standard error")
    rows = [row_of(run, log) for run, log in logs.items()]
    shown = [[f"{x:.2f}" if isinstance(x, float) else x for x in row] for row in rows]
    folder = results.publish("curves", columns, rows, args.output, shown)
    _draw(chains, logs, folder / "training-curves.png")


def _draw(chains: list[list[str]], logs: dict[str, list[Row]], path: Path) -> None:
    from levit_common.figures import make_figure, save_figure

    figure = make_figure(7, 4)
    axes = figure.subplots()
    begins: dict[str, int] = {}  # epochs before each run; one in several chains is drawn once
    for chain in chains:
        before = 0
        for run in chain:
            begins.setdefault(run, before)
            before += logs[run][-1].epoch
    for run, before in begins.items():
        found = [row for row in logs[run] if row.score is not None]
        epochs, shares = [before + row.epoch for row in found], [100 * row.score for row in found]
        axes.plot(epochs, shares, "o-", ms=3, label=Path(run).name)
    axes.set(xlabel="epochs of the whole chain", ylabel="top-1 of held-out pictures, %")
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def define_flags() -> None:
    flags.DEFINE_multi_string(
        "chain",
        None,
        "Folders of runs, each begun with the network of the one before.",
        required=True,
    )
    options.define_output()


if __name__ == "__main__":
    cli.Command(main, define_flags).run()
