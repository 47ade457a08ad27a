"""What surrounds the emulated ARM64 CPU: refusals that help, and a verdict that can be bad."""

import subprocess
import sys

import numpy as np
import pytest

from converters.tflite.recipes import RECIPES
from converters.to_tflite import to_tflite
from tests.arm64 import compare, prepare
from tests.arm64.machine import CPUS, PICTURES, python_command
from tests.support.export_cases import make_model, rgb_images


@pytest.fixture
def here():
    answers = np.random.default_rng(0).normal(0, 1, (8, 20)).astype(np.float32)
    return {"answers": answers, "partitions": np.array(1)}


def test_every_recipe_has_a_tolerance():
    assert list(compare.TOLERANCES) == list(RECIPES)


@pytest.mark.parametrize("recipe", compare.TOLERANCES)
def test_a_difference_within_the_tolerance_passes_and_a_larger_one_does_not(here, recipe):
    tolerance = compare.TOLERANCES[recipe] * np.abs(here["answers"]).max()
    for share, passed in ((0.9, True), (1.1, False)):
        there = here | {"answers": here["answers"] + share * tolerance}
        found = compare.compare(recipe, here, there)
        assert found.passed is passed
        assert found.same == 8


def test_another_answer_fails_where_it_is_clear(here):
    here["answers"][3, 4] = 50
    there = here | {"answers": here["answers"].copy()}
    there["answers"][3, [4, 5]] = there["answers"][3, [5, 4]]
    found = compare.compare("int8", here, there)
    assert (found.same, found.clear, found.same_clear) == (7, 1, 0)
    assert not found.passed


def test_what_is_not_a_number_fails(here):
    there = here | {"answers": np.full_like(here["answers"], np.nan)}
    assert not compare.compare("int8", here, there).passed


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp32", "int8_full"])
def test_the_script_for_the_emulated_cpu_answers_as_the_file_does(recipe, tmp_path):
    path = tmp_path / f"{recipe}.tflite"
    images = rgb_images(12)
    model = make_model(classifier_activation=None)
    to_tflite(model, path, recipe=recipe, outputs="logits", calibration_images=images)
    np.save(tmp_path / PICTURES, images.astype(np.uint8))
    found = compare.run_on([sys.executable], path, 3)
    expected = compare.run.run(str(path), images[:3])
    np.testing.assert_array_equal(found["answers"], expected["answers"])
    assert found["answers"].shape == (3, 7)
    assert len(np.unique(found["answers"])) > 7
    assert not list(tmp_path.glob("tmp*"))


def test_a_file_that_does_not_run_is_named_with_the_reason(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no file")
    np.save(tmp_path / PICTURES, np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"broken\.tflite fails with(.*\n)*.*Error"):
        compare.run_on([sys.executable], path, 1)


def test_without_machine_or_files_the_command_says_what_makes_them(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="make test-arm64"):
        python_command(tmp_path, next(iter(CPUS)))
    options = [f"--machine={tmp_path}", f"--files={tmp_path}"]
    assert compare.main(options) == 1
    assert "fp32.tflite: no such file; python -m tests.arm64.files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": "riscv64"}, "Only x86-64 machines can run this. This one: riscv64"),
        ({"tool": None}, "apt-get is missing: this needs Debian"),
        ({}, "no such list of Debian mirrors. Name another: make ARM64_SOURCES=FILE"),
    ],
)
def test_what_cannot_be_prepared_is_refused_and_nothing_is_written(
    change, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(prepare.platform, "machine", lambda: change.get("machine", "x86_64"))
    monkeypatch.setattr(prepare.shutil, "which", lambda tool: change.get("tool", tool))
    command = [f"--folder={tmp_path / 'machine'}", f"--sources={tmp_path / 'nothing.sources'}"]
    assert prepare.main(command) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_tool_that_fails_is_quoted_and_nothing_is_left(tmp_path, monkeypatch, capsys):
    def fail(command, **options):
        failed = command[0] == "apt-get"
        said = b"E: Unable to locate package" if failed else b""
        return subprocess.CompletedProcess(command, 100 if failed else 0, b"", said)

    sources = tmp_path / "debian.sources"
    sources.write_text("")
    monkeypatch.setattr(prepare.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(prepare.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(prepare.subprocess, "run", fail)
    assert prepare.main([f"--folder={tmp_path / 'machine'}", f"--sources={sources}"]) == 1
    said = capsys.readouterr().err
    assert "ARM64_SOURCES" in said
    assert "E: Unable to locate package" in said
    assert list(tmp_path.iterdir()) == [sources]
