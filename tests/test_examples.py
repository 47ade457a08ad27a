"""The examples run as they stand."""

import pytest

from examples import photographs
from tests.support import commands


@pytest.mark.slow
def test_every_artefact_of_the_packaged_network_says_the_same_of_a_photograph(tmp_path, capsys):
    assert commands.call(photographs, [f"--output={tmp_path / 'out'}"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    answers = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1:]]
    answers = [row for row in answers if "%" in row[1]]
    assert len(answers) == 5
    assert {row[1].split()[0] for row in answers} == {"church"}
    floats = [row[1] for row in answers if row[0] != "int8.tflite"]
    assert len(set(floats)) == 1


def test_crops_are_parts_of_the_photographs():
    files = photographs.sample_photographs()
    crops = photographs.random_crops(files, (80, 96))
    assert crops.shape == (photographs.CROPS, 80, 96, 3)
    assert crops.std(axis=(1, 2, 3)).min() > 5
