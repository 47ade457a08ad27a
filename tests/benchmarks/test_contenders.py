"""The processes that a benchmark starts of itself."""

import pytest
from absl import flags

from benchmarks.support import contenders


@pytest.fixture(autouse=True)
def benchmark(monkeypatch):
    """What runs is a program of the tests."""
    monkeypatch.setattr(contenders, "command_name", lambda: "tests.benchmarks.contender")


def test_each_contender_has_its_times_and_the_larger_task_takes_longer(monkeypatch):
    class Flags:
        turns, seconds = 3, 0.01

    monkeypatch.setattr(flags, "FLAGS", Flags)
    running = {size: contenders.start(1, worker=size) for size in (10, 100_000)}
    times = contenders.race(running)
    assert [len(times[size].wall) for size in running] == [3, 3]
    assert times[100_000].cpu_ms > times[10].cpu_ms > 0


def test_files_of_each_are_written_into_a_folder_of_its_name(tmp_path):
    contenders.write_each(["mine", "theirs"], tmp_path, text="two words")
    found = {path.parent.name: path.read_text() for path in tmp_path.glob("*/file.txt")}
    assert found == {"mine": "mine two words", "theirs": "theirs two words"}
