"""Commands keep stderr for their own messages; programs see all that TensorFlow says."""

import os
import subprocess
import sys

import pytest

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}


def _run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )


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
    shown = _run("-c", script).stderr
    assert "message of a failure" in shown
    assert "message of a success" not in shown


@pytest.mark.parametrize(
    "command", ["levit_tf.classify", "converters.to_tflite", "converters.from_pytorch"]
)
def test_an_error_of_a_command_is_all_that_it_prints(command, tmp_path):
    missing = tmp_path / "missing.keras"
    arguments = {
        "levit_tf.classify": [f"--model={missing}", "picture.png"],
        "converters.to_tflite": [f"--model={missing}", f"--output={tmp_path / 'a.tflite'}"],
        "converters.from_pytorch": [f"--checkpoint={missing}", f"--output={tmp_path / 'a.keras'}"],
    }[command]
    finished = _run("-m", command, *arguments)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"error: {missing}: no such file")
    assert len(finished.stderr.splitlines()) == 1
