"""How the Pythons of this machine are found, and what is read off what pip and pytest write."""

import shutil
import sys

import pytest

from tools import check_pythons

HERE = "{}.{}".format(*sys.version_info[:2])


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A machine without any Python."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def put(folder, text):
    folder.mkdir(parents=True)
    path = folder / f"python{HERE}"
    path.write_text(f"#!{shutil.which('sh', path='/bin:/usr/bin')}\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_python_is_found_in_path(alone):
    python = put(alone / "bin", f'exec {sys.executable} "$@"')
    assert check_pythons.find(HERE) == python


def test_a_shim_that_fails_gives_way_to_the_python_of_pyenv(alone):
    put(alone / "bin", "exit 127")
    python = put(alone / "pyenv" / "versions" / f"{HERE}.1" / "bin", f'exec {sys.executable} "$@"')
    assert check_pythons.find(HERE) == python


def test_a_python_of_another_version_is_not_taken(alone):
    put(alone / "bin", "echo 2.7")
    assert check_pythons.find(HERE) is None


def test_each_step_is_run_and_one_that_fails_fails_all_with_what_was_counted(alone, capsys):
    python = put(alone / "bin", f'exec {sys.executable} "$@"')
    make = put(alone / "other", 'echo "== 1 failed, 2 passed in 3s =="; echo "$@"; [ $1 = demo ]')
    make.rename(alone / "bin" / "make")
    assert check_pythons.main([f"--folder={alone}/new", HERE]) == 1
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[:3] for row in rows] == [[HERE, "demo", "passed"], [HERE, "test", "FAILED"]]
    assert "1 failed, 2 passed in 3s" in rows[1]
    log = (alone / "new" / f"{HERE}-test.log").read_text(encoding="utf-8")
    assert f"PYTHON={python} VENV={alone}/new/{HERE} " in log


def test_a_machine_without_any_fails(alone, capsys):
    assert check_pythons.main([f"--folder={alone}", "3.13", "3.12"]) == 1
    written = capsys.readouterr()
    assert "3.12     not on this machine" in written.out
    assert "found none of Python 3.13, 3.12" in written.err


def test_what_a_python_lacks_is_said():
    output = """
Collecting promise (from tensorflow-datasets)
  Using cached promise-2.3.tar.gz (19 kB)
  Downloading numpy-2.4.6-cp313-cp313-manylinux_2_27_x86_64.whl (16 MB)
  error: subprocess-exited-with-error
  ERROR: Failed building wheel for dm-tree
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from levit-tf)
ERROR: No matching distribution found for torch==2.13.0; extra == "torch"
"""
    assert check_pythons.lacks(output) == [
        "no torch==2.13.0",
        "dm-tree did not build",
        "promise-2.3 from source",
    ]


def test_what_pytest_counted_is_its_last_line():
    output = """
==== test session starts ====
==== warnings summary ====
==== 2 failed, 7 passed, 1 deselected in 12.34s ====
"""
    assert check_pythons.summary(output) == "2 failed, 7 passed, 1 deselected in 12.34s"
    assert check_pythons.summary("no tests") == ""
