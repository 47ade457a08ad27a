"""Addresses on the hub: what is meant as one, and what to do where a file is expected."""

import pytest

from converters import to_dynamic
from levit_common.files import check_exists
from tests.support.commands import call


def test_where_a_file_is_expected_an_address_is_told_how_to_become_one():
    with pytest.raises(FileNotFoundError) as error:
        check_exists("hf://me/flowers@v2", "a .keras file")
    assert str(error.value).endswith(
        "python -m converters.from_pytorch --checkpoint=hf://me/flowers@v2 --output=FILE.keras "
        "makes a file."
    )
    with pytest.raises(FileNotFoundError) as error:
        check_exists("flowers.keras", "a .keras file")
    assert str(error.value) == "flowers.keras: no such file. Expected a .keras file."


def test_a_converter_of_files_says_so_in_one_line(tmp_path, capsys):
    arguments = [
        "--models=hf://me/flowers",
        f"--calibration=imagefolder:{tmp_path}",
        f"--output={tmp_path / 'dynamic'}",
    ]
    assert call(to_dynamic, arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: hf://me/flowers: no such file.")
    assert "--checkpoint=hf://me/flowers" in line
