"""The folder of a run: one run at a time, and never two different ones."""

import subprocess
import sys
import textwrap

import pytest

from training import folder as run_folder

CONFIG = {"variant": "LeViTTiny", "epochs": 3, "input_size": (32, 32)}


def prepare(folder, config=CONFIG, overwrite=False):
    run_folder.prepare(folder, config, "default", overwrite)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    script = f"""
        from pathlib import Path
        from training import folder
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
    for name in ("log.json", "notes.txt"):
        (tmp_path / name).write_text("old")
    prepare(tmp_path, {**CONFIG, "epochs": 4}, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "notes.txt"}


def test_a_damaged_configuration_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileExistsError, match=r"config\.json is damaged"):
        prepare(tmp_path)
