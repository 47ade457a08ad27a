"""When an extra counts as resolved; pip is played by a program, as the real one takes minutes."""

import pytest

from tools import check_resolver


@pytest.fixture
def pip(tmp_path):
    """Makes a Python whose pip runs a script."""

    def make(script):
        path = tmp_path / "python"
        version = "pip 23.2.1 from somewhere"
        path.write_text(
            f'#!/bin/sh\nif [ "$3" = --version ]; then echo "{version}"; exit; fi\n{script}\n',
            encoding="utf-8",
        )
        path.chmod(0o755)
        return path

    return make


def test_an_extra_that_pip_resolves_passes(pip, capsys):
    python = pip('echo "Would install keras-3.15.1 numpy-2.4.6"')
    assert check_resolver.check(python, ["train"], limit=60)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pip 23.2.1, Python")
    assert lines[2].split()[:2] == ["train", "passed"]
    assert lines[2].split()[-1] == "2"


def test_time_in_which_pip_waits_does_not_count(pip):
    python = pip('sleep 2; echo "Would install keras-3.15.1"')
    assert check_resolver.check(python, ["train"], limit=1)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            "echo Collecting grpcio; while :; do :; done",
            "train: not resolved after",
        ),
        ("echo ERROR: ResolutionImpossible; exit 1", "ERROR: ResolutionImpossible"),
    ],
)
def test_an_extra_that_does_not_end_or_that_has_no_versions_fails(pip, capsys, script, says):
    assert not check_resolver.check(pip(script), ["train"], limit=1)
    written = capsys.readouterr()
    assert written.out.splitlines()[2].split()[:2] == ["train", "FAILED"]
    assert says in written.err


def test_a_package_that_was_tried_more_than_once_is_named():
    output = """
  Using cached grpcio_status-1.85.1-py3-none-any.whl.metadata (1 kB)
  Downloading grpcio_status-1.84.0-py3-none-any.whl (14 kB)
Processing /wheels/numpy-2.4.6-cp311-cp311-linux_x86_64.whl (from keras)
  Downloading promise-2.3.tar.gz (19 kB)
  Downloading promise-2.3.tar.gz (19 kB)
"""
    assert check_resolver.tried_more_than_once(output) == {"grpcio-status": ["1.85.1", "1.84.0"]}
