"""Commands answer --help and a wrong argument before Keras starts, and end with an exit code."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from levit_common import cli, scripts
from tests.support import commands

HEAVY = ("keras", "tensorflow", "torch", "levit_tf")
# Runs a command as `python -m` does and says, last, what it has imported.
AS_MAIN = """
import atexit, runpy, sys
heavy = {heavy!r}
atexit.register(lambda: print("imported:", *(name for name in heavy if name in sys.modules)))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
CONVERTERS = {
    "converters.choose": "--model=x.keras --threads=0",
    "converters.from_pytorch": "--checkpoint=x.pth",
    "converters.from_pytorch_efficientnet_lite": "--checkpoint=x.pth --output=x.h5",
    "converters.from_pytorch_regnet": "--checkpoint=x.pth",
    "converters.qat": "--model=x.keras",
    "converters.report": "--threads=0 x.tflite",
    "converters.to_onnx": "--opset=99",
    "converters.to_pytorch": "--format=jax",
    "converters.to_saved_model": "--precision=int4",
    "converters.to_tflite": "--outputs=scores",
    "converters.verify": "--limit=0 a b",
}

TRAINING = {
    "training.ask_teacher": "--set=epochs=2",
    "training.evaluate": "--model=x --dataset=digits --limit=0",
    "training.linear_probe": "--model=x --dataset=digits --output=x.h5",
    "training.main": "--output=x --set=epoch=1",
    "training.show_augmentation": "--output=x --rows=0",
}
SERVING = {
    "serving.client": "--top=0 a.jpg",
    "serving.export": "--model=x --repository=x --name=a/b",
    "serving.load_test": "--images=x --rate=fast --duration=1",
    "serving.server": "--port=0",
    "serving.versions": "--repository=x --name=x --pin=1 --unpin",
}
COMMANDS = {**CONVERTERS, **TRAINING, **SERVING}


def run(command, *arguments):
    script = AS_MAIN.format(heavy=HEAVY)
    return subprocess.run(
        [sys.executable, "-c", script, command, *arguments], capture_output=True, text=True
    )


def lines_before_heavy_imports(text):
    *lines, last = text.splitlines()
    assert last == "imported:", last
    return lines


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_the_flags_without_starting_keras(command):
    done = run(command, "--help")
    assert done.returncode == 0, done.stderr
    lines = lines_before_heavy_imports(done.stdout)
    assert any(f"python -m {command}" in line for line in lines)
    assert any(line.startswith("  --") for line in lines)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        *COMMANDS.items(),
        ("training.main", "--output=x --config=digit"),
        ("training.main", "--output=x --set=epochs=none"),
        ("training.main", "--output=x --set=epochs=0"),
        ("training.main", "--output=x --strategy=parameterserver"),
        ("converters.to_tflite", "--model=x --output=a.tflite --recipe=int8"),
        ("converters.to_tflite", "--model=no.keras --output=a.tflite"),
        ("converters.to_onnx", "--model=no.keras --output=a.tflite"),
    ],
)
def test_a_wrong_argument_is_refused_without_starting_keras(command, arguments):
    done = run(command, *arguments.split())
    assert done.returncode == (2 if command == "converters.verify" else 1)
    assert lines_before_heavy_imports(done.stdout) == []
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_interrupt_ends_a_command_in_one_line(capsys):
    def main():
        raise KeyboardInterrupt

    module = SimpleNamespace(COMMAND=cli.Command(main, starts_keras=False))
    assert commands.call(module, []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_each_converter_has_its_place_in_the_script(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["levit-convert"])
    scripts.convert()
    listed = capsys.readouterr().out
    for command in CONVERTERS:
        assert f"\n  {command.removeprefix('converters.').replace('_', '-')} " in listed


@pytest.mark.parametrize("name", ["edge", "batch", "web_app"])
def test_a_script_is_its_command(name):
    code = f"from levit_common.scripts import {name}; {name}()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m serving.{name}" in done.stdout


def test_a_script_runs_the_installed_package_where_the_folder_has_one_of_that_name(tmp_path):
    for package in ("training", "serving"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('of the folder')")
    script = tmp_path / "bin" / "levit-train"
    script.parent.mkdir()
    script.write_text("from levit_common.scripts import train\ntrain()\n")
    done = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "python -m training.main" in done.stdout


def test_a_converter_that_is_none_is_named_with_the_nearest(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["levit-convert", "to-tflit"])
    with pytest.raises(SystemExit, match=r"unknown command 'to-tflit'\. Did you mean 'to-tflite'"):
        scripts.convert()
