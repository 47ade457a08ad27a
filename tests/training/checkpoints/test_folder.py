"""The folder of a run: one run at a time, and never two different ones."""

import subprocess
import sys
import textwrap

import pytest

from training.checkpoints import folder as run_folder
from training.checkpoints.record import Record

CONFIG = {"variant": "LeViTTiny", "epochs": 3, "input_size": [32, 32]}


def prepare(folder, config=CONFIG, overwrite=False):
    return run_folder.prepare(folder, Record(config), overwrite=overwrite)


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    script = f"""
        from pathlib import Path
        from training.checkpoints import folder
        with folder.locked(Path({str(tmp_path)!r})):
            print("locked", flush=True)
            input()
    """
    first = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout.readline() == "locked\n"
    with (
        pytest.raises(FileExistsError, match=rf"in use by another run \(process {first.pid} on"),
        run_folder.locked(tmp_path),
    ):
        pass
    first.kill()  # leaves the file behind, but not the lock
    first.communicate()
    assert (tmp_path / run_folder.LOCK_FILE).exists()
    with run_folder.locked(tmp_path):
        pass
    assert not (tmp_path / run_folder.LOCK_FILE).exists()


def test_the_same_configuration_goes_on(tmp_path):
    prepare(tmp_path)
    (tmp_path / "log.json").write_text("[]")
    prepare(tmp_path)
    assert (tmp_path / "log.json").exists()


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    prepare(tmp_path)
    other = {**CONFIG, "variant": "LeViTNano", "epochs": 4}
    expected = "epochs is 3 there and 4 here; variant is 'LeViTTiny' there and 'LeViTNano' here"
    with pytest.raises(FileExistsError, match=expected):
        prepare(tmp_path, other)


def test_overwriting_removes_the_run_and_nothing_else(tmp_path):
    prepare(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").write_text("old")
    for name in ("log.json", "result.json", "notes.txt"):
        (tmp_path / name).write_text("old")
    prepare(tmp_path, {**CONFIG, "epochs": 4}, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "run.json", "notes.txt"}


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"other": 1}', "\0", "null", "[" * 100_000])
def test_a_damaged_configuration_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(FileExistsError, match=r"config\.json is damaged, missing or no") as error:
        prepare(tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / "config.json").read_text() == content


def test_a_field_that_did_not_exist_yet_has_the_value_that_it_meant(tmp_path):
    prepare(tmp_path)
    prepare(tmp_path, {**CONFIG, "keep_checkpoints": 3})
    with pytest.raises(FileExistsError, match="accumulate is 1 there and 4 here"):
        prepare(tmp_path, {**CONFIG, "accumulate": 4})


@pytest.mark.parametrize(
    ("field", "before", "now"),
    [
        ("keep_checkpoints", 3, 1),
        ("checkpoint_steps", 0, 500),
        ("checkpoint_epochs", 1, 5),
        ("strict", True, False),
        ("teacher_cache", "answers", "moved/answers"),
    ],
)
def test_a_field_that_changes_no_number_may_differ_and_is_said(tmp_path, field, before, now):
    prepare(tmp_path, {**CONFIG, field: before})
    lines = prepare(tmp_path, {**CONFIG, field: now}).lines
    assert f"{field} was {before!r} when this run began and is {now!r} now." in lines


@pytest.mark.parametrize(
    ("field", "before", "now"),
    [
        ("teacher_cache", "answers", None),
        ("dataset", "imagefolder:a", "imagefolder:b"),  # the pictures were not recorded
    ],
)
def test_a_field_that_may_change_numbers_must_stay(tmp_path, field, before, now):
    prepare(tmp_path, {**CONFIG, field: before})
    with pytest.raises(FileExistsError, match=f"{field} is {before!r} there and {now!r} here"):
        prepare(tmp_path, {**CONFIG, field: now})


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    prepare(tmp_path)
    (tmp_path / ".best.keras.x1y2").mkdir()
    (tmp_path / ".notes").mkdir()
    run_folder.clean(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "run.json", ".notes"}
