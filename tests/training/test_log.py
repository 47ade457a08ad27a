"""The log of a run and what a terminal shows."""

import csv
import dataclasses
import json
import math
import re

import pytest

from tests.support.training.full_disk import full_disk
from training.log import Log, Row, read_csv_rows, rows_of
from training.loop.progress import Progress


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


def table(folder):
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_after_the_restored_step_are_written_again_and_the_old_ones_stay(tmp_path):
    log = Log(tmp_path)
    for epoch in (1, 2, 3):
        log.add(row(epoch))
    log = Log(tmp_path, step=20, attempt=2)
    assert [found.epoch for found in log.rows] == [1, 2]
    log.add(row(3, top1=0.75))
    found = json.loads((tmp_path / "log.json").read_text())
    assert [(line["epoch"], line["top1"]) for line in found] == [(1, 0.5), (2, 0.5), (3, 0.75)]
    columns = ("epoch", "top1", "attempt", "attempt_began_after_step")
    assert [tuple(line[name] for name in columns) for line in table(tmp_path)] == [
        *(("1", "0.5", "1", "0"), ("2", "0.5", "1", "0"), ("3", "0.5", "1", "0")),
        ("3", "0.75", "2", "20"),
    ]
    assert read_csv_rows(tmp_path) == log.rows
    assert log.history()["top1"] == [0.5, 0.5, 0.75]


def test_the_rows_of_the_checkpoint_count_more_than_the_files(tmp_path):
    log = Log(tmp_path)
    log.add(row(1, top1=0.9))
    kept = rows_of(log.as_json())
    (tmp_path / "log.json").write_text("[]")
    assert Log(tmp_path, step=10, rows=kept).rows == [row(1, top1=0.9)]


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"epoch": 1}]', "null", None])
def test_a_damaged_json_file_is_made_again_from_the_csv_file(tmp_path, content):
    log = Log(tmp_path)
    for epoch in (1, 2):
        log.add(row(epoch))
    path = tmp_path / "log.json"
    path.unlink() if content is None else path.write_text(content)
    log = Log(tmp_path, step=20)
    assert log.rows == [row(1), row(2)]
    log.add(row(3))
    assert len(json.loads(path.read_text())) == 3


def test_what_a_csv_file_has_lost_is_appended(tmp_path):
    log = Log(tmp_path)
    for epoch in (1, 2, 3):
        log.add(row(epoch))
    path = tmp_path / "log.csv"
    content = path.read_bytes()
    path.write_bytes(content[:-30])  # in the midst of the third line
    log = Log(tmp_path, step=30, attempt=2)
    log.add(row(4))
    assert path.read_bytes().startswith(content[:-30])
    assert read_csv_rows(tmp_path) == [row(1), row(2), row(3), row(4)]


def test_a_csv_file_of_other_columns_keeps_its_lines(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,step,note\n1,10,kept\n")
    log = Log(tmp_path)
    log.add(row(1))
    assert [line["note"] for line in table(tmp_path)] == ["kept", ""]
    assert read_csv_rows(tmp_path) == [row(1)]


def test_a_full_disk_leaves_no_half_a_line(tmp_path):
    log = Log(tmp_path)
    log.add(row(1))
    size = (tmp_path / "log.csv").stat().st_size
    message = re.escape(f"{tmp_path}/log.csv: cannot be written: File too large.")
    with full_disk(size + 10), pytest.raises(OSError, match=f"^{message}$"):
        log.add(row(2))
    assert len(table(tmp_path)) == 1
    log = Log(tmp_path, step=10, attempt=2)
    log.add(row(2))
    assert read_csv_rows(tmp_path) == [row(1), row(2)]


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
    monkeypatch.setattr("training.loop.progress.time.perf_counter", lambda: next(clock))
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
