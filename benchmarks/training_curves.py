"""Time, accuracy and curves of runs of `training.main`, each begun with the network of the last.

    python -m benchmarks.training_curves --chain=runs/a,runs/b --chain=runs/a,runs/taught

Reads the logs of the runs, also of those that were stopped; nothing is trained. The table has a row
for each run: its epochs, its input, the hours that its steps took, and the top-1 of the last
evaluation on the held-out pictures, of the raw and the averaged weights. The picture shows the
top-1 of the averaged weights over all epochs of each chain.
"""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

from absl import flags

from benchmarks.support import options, results
from levit_common import cli
from levit_common.arrays import standard_error
from levit_tf.pictures.run_pictures import PICTURES_FILE, TRAINING_PART
from training.log import JSON_FILE

Log = list[dict]


def read_log(run: str) -> Log:
    """The rows of a run's log, one for each epoch.

    Raises:
      FileNotFoundError: the folder is none of a run.
    """
    return json.loads(Path(run, JSON_FILE).read_text(encoding="utf-8"))


def count_held_out(run: str) -> int:
    """Number of held-out pictures in the list of a run."""
    with gzip.open(Path(run, PICTURES_FILE), "rt", encoding="ascii") as file:
        return sum(json.loads(line)[0] != TRAINING_PART for line in file)


def row_of(run: str, log: Log) -> tuple:
    """A row of the table."""
    config = json.loads(Path(run, "config.json").read_text(encoding="utf-8"))
    steps = [
        after["step"] - before["step"] for before, after in itertools.pairwise([{"step": 0}, *log])
    ]
    pictures = zip(steps, log, strict=True)
    seconds = sum(n * config["batch_size"] / row["images_per_second"] for n, row in pictures)
    last = [row for row in log if row["top1"] is not None][-1]
    raw, average = last["top1"], last["ema_top1"]
    error = standard_error(max(raw, average or 0), count_held_out(run))
    return (
        Path(run).name,
        last["epoch"],
        "x".join(map(str, config["input_size"])),
        seconds / 3600,
        *(None if share is None else round(100 * share, 2) for share in (raw, average)),
        round(100 * error, 2),
    )


def main() -> None:
    args = flags.FLAGS
    chains = [chain.split(",") for chain in args.chain]
    logs = {run: read_log(run) for chain in chains for run in chain}
    columns = ("run", "epochs", "input", "hours", "top-1, %", "of the average", "standard error")
    rows = [row_of(run, log) for run, log in logs.items()]
    shown = [[f"{x:.2f}" if isinstance(x, float) else x for x in row] for row in rows]
    folder = results.publish("training_curves", columns, rows, args.output, shown)
    _draw(chains, logs, folder / "training-curves.png")


def _draw(chains: list[list[str]], logs: dict[str, Log], path: Path) -> None:
    from levit_common.figures import make_figure, save_figure

    figure = make_figure(7, 4)
    axes = figure.subplots()
    drawn = set()
    for chain in chains:
        before = 0
        for run in chain:
            found = [row for row in logs[run] if row["top1"] is not None]
            points = [(before + r["epoch"], 100 * (r["ema_top1"] or r["top1"])) for r in found]
            if run not in drawn:
                axes.plot(*zip(*points, strict=True), "o-", ms=3, label=Path(run).name)
            drawn.add(run)
            before += found[-1]["epoch"]
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
