"""The log of a run and what a terminal shows."""

import dataclasses
import json
import math

from training.log import Log, Row
from training.progress import Progress


def row(epoch, top1=0.5):
    return Row(
        epoch=epoch,
        step=10 * epoch,
        learning_rate=0.1,
        loss=1 / epoch,
        top1=top1,
        ema_top1=None,
        images_per_second=100.0,
        data_wait=0.25,
    )


def test_rows_after_the_restored_step_are_written_again(tmp_path):
    log = Log(tmp_path)
    for epoch in (1, 2, 3):
        log.add(row(epoch))
    log = Log(tmp_path, step=20)
    assert [found.epoch for found in log.rows] == [1, 2]
    log.add(row(3, top1=0.75))
    found = json.loads((tmp_path / "log.json").read_text())
    assert [(line["epoch"], line["top1"]) for line in found] == [(1, 0.5), (2, 0.5), (3, 0.75)]
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,step,learning_rate,loss,top1")
    assert len(lines) == 4


def test_the_history_has_nan_where_nothing_was_measured(tmp_path):
    log = Log(tmp_path)
    log.add(row(1, top1=None))
    history = log.history()
    assert history["loss"] == [1.0]
    assert math.isnan(history["top1"][0])


def test_other_workers_write_nothing(tmp_path):
    Log(tmp_path, writes=False).add(row(1))
    assert list(tmp_path.iterdir()) == []


def test_a_line_says_how_far_how_fast_and_how_long(capsys, monkeypatch):
    clock = iter([0.0, *[2.0] * 20])
    monkeypatch.setattr("training.progress.time.perf_counter", lambda: next(clock))
    progress = Progress("epoch 2/3", steps=10, first_step=8, batch_size=32, remaining_steps=12)
    progress.step(waited=0.5, loss=1.5)
    progress.step(waited=0.5, loss=1.25)
    progress.finish(1.25, "top-1 50.00 %")
    (line,) = capsys.readouterr().out.splitlines()
    expected = (
        "epoch 2/3 10/10, loss 1.2500, 32 images/s, data wait 50%, ETA 0:00:10, top-1 50.00 %"
    )
    assert line == expected


def test_the_better_of_raw_weights_and_average_is_what_counts():
    better = dataclasses.replace(row(1, 0.5), ema_top1=0.6)
    worse = dataclasses.replace(row(1, 0.56), ema_top1=0.24)
    alone = dataclasses.replace(row(1, 0.56), ema_top1=None)
    unmeasured = dataclasses.replace(row(1, None), ema_top1=None)
    rows = (better, worse, alone, unmeasured)
    assert [row.ships_average for row in rows] == [True, False, False, False]
    assert [row.score for row in rows] == [0.6, 0.56, 0.56, None]
