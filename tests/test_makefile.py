"""Which Python the Makefile takes, of programs that stand for Pythons; nothing is installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ["3.13", "3.12", "3.11"]

# Runs the code that it is given as if it were of that version.
PYTHON = """#!/bin/sh
test "$1" = -c && exec {python} -c "import sys; sys.version_info = ({version}, 0); $2"
"""
SHIM = """#!/bin/sh
echo "pyenv: python: command not found" >&2
exit 127
"""


@pytest.fixture
def folder(tmp_path):
    """What PATH has beside what make needs."""
    for name in ("make", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name))
    return tmp_path


def add(folder, name, version=None):
    """Puts a Python of a version there, or a shim for one that is not selected."""
    text = (
        PYTHON.format(python=sys.executable, version=version.replace(".", ", "))
        if version
        else SHIM
    )
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)


def environment_command(folder, *arguments):
    """The command that makes an environment there, or make's error."""
    environment = {"PATH": str(folder), "LC_ALL": "C", "HOME": os.environ["HOME"]}
    command = ["make", "-n", "new/bin/python", "VENV=new", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    (said,) = re.findall(r"^.*\*\*\* .*$", done.stderr, re.MULTILINE) or [done.stdout.strip()]
    return said


def test_the_newest_supported_python_is_taken(folder):
    for version in ("3.11", "3.12", "3.14"):
        add(folder, f"python{version}", version)
    assert environment_command(folder) == "python3.12 -m venv new"


def test_a_python_that_does_not_start_is_passed_over(folder):
    for name in ("python3.13", "python3.12"):
        add(folder, name)
    add(folder, "python3.11", "3.11")
    assert environment_command(folder) == "python3.11 -m venv new"


def test_python3_is_taken_where_it_is_supported(folder):
    add(folder, "python3", "3.12")
    assert environment_command(folder) == "python3 -m venv new"
    add(folder, "python3", "3.10")
    assert "PATH has not one of Python 3.13 3.12 3.11 that" in environment_command(folder)


def test_a_named_python_is_taken_before_a_newer_one(folder):
    add(folder, "python3.13", "3.13")
    add(folder, "mine", "3.11")
    assert environment_command(folder, "PYTHON=mine") == "mine -m venv new"


@pytest.mark.parametrize("version", ["3.10", "3.14", None])
def test_a_named_python_that_cannot_do_is_refused_before_an_environment_is_made(folder, version):
    add(folder, "python3.12", "3.12")
    add(folder, "mine", version)
    message = environment_command(folder, "PYTHON=mine")
    assert re.search(r"PYTHON=mine is not one of Python 3\.13 3\.12 3\.11 that\s+starts", message)
    assert "make PYTHON=/path/to/python3.12" in message


def test_the_package_is_for_the_pythons_that_the_makefile_takes():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^PYTHONS = (.+)$", makefile, re.MULTILINE).group(1).split() == VERSIONS
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert 'python_requires=">=3.11,<3.14"' in setup
    assert re.findall(r'"Programming Language :: Python :: ([\d.]+)"', setup) == VERSIONS[::-1]
