"""Commands keep stderr for their own messages; programs see all that TensorFlow says."""

import subprocess
import sys

import pytest

from tests.support.commands import ENVIRONMENT, run_process


@pytest.mark.slow
def test_held_back_output_is_shown_when_the_block_fails():
    script = (
        "import levit_tf\n"
        "import os; from levit_common.quiet import quiet_native_output\n"
        "with quiet_native_output():\n"
        "    os.write(2, b'message of a success')\n"
        "with quiet_native_output():\n"
        "    os.write(2, b'message of a failure')\n"
        "    raise ValueError"
    )
    command = [sys.executable, "-c", script]
    shown = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT).stderr
    assert "message of a failure" in shown
    assert "message of a success" not in shown


@pytest.mark.parametrize("command", ["converters.to_tflite", "converters.from_pytorch"])
def test_an_error_of_a_command_is_all_that_it_prints(command, tmp_path):
    missing = tmp_path / "missing.keras"
    arguments = {
        "converters.to_tflite": [f"--model={missing}", f"--output={tmp_path / 'a.tflite'}"],
        "converters.from_pytorch": [f"--checkpoint={missing}", f"--output={tmp_path / 'a.keras'}"],
    }[command]
    finished = run_process(command, *arguments)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"error: {missing}: no such file")
    assert len(finished.stderr.splitlines()) == 1
