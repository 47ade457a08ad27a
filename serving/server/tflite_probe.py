"""Runs a TFLite file in a process of its own, which may end of it, before the server does.

LiteRT takes on trust what a file says: indices lead it out of the file, and it ends the process.

python -m serving.server.tflite_probe FILE
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

_SECONDS = 120


def probe(path: Path) -> str:
    """Why a file cannot be served; empty if it can.

    It is loaded, its tensors are allocated, and it is run on zeros.

    Raises:
      ImportError: there is no LiteRT.
    """
    command = [sys.executable, "-m", "serving.server.tflite_probe", str(path)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    except subprocess.TimeoutExpired:
        return f"loading and running it took more than {_SECONDS} seconds."
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"LiteRT ends the process that runs it ({name}); it is damaged."
    if done.returncode:
        return (done.stdout.strip().splitlines() or ["it cannot be run."])[-1]
    return ""


def _run(path: str) -> str:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=Path(path).read_bytes(), num_threads=1)
        for detail in interpreter.get_input_details():
            if 0 in detail["shape"]:
                shape = [int(size) for size in detail["shape"]]
                return f"its input {detail['name']!r} is empty: shape {shape}."
        for key in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(key)
            runner.get_input_details(), runner.get_output_details()
        interpreter.allocate_tensors()
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            interpreter.get_tensor(detail["index"])
    except Exception as error:  # of LiteRT's own kinds
        return " ".join(str(error).split())
    return ""


if __name__ == "__main__":
    reason = _run(sys.argv[1])
    print(reason)
    sys.exit(1 if reason else 0)
