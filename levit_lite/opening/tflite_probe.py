"""First runs a TFLite file in a separate process, which may crash without harm to this one.

`tflite_files` cannot foresee what the kernels do with values that are formally valid.

    python -P levit_lite/opening/tflite_probe.py FILE

It runs as a script, because importing levit_tf would take longer than everything else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

_SECONDS = 120


def probe(path: Path) -> str:
    """Returns the reason why a file cannot be run; "" if it can.

    The file is loaded, its tensors are allocated, and it is run on zeros.

    Raises:
      ImportError: LiteRT is not installed.
    """
    # -P, because modules in this folder have names of libraries.
    command = [sys.executable, "-P", __file__, str(path)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"loading and running it took more than {_SECONDS} seconds."
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"LiteRT ends the process that runs it ({name}); it is damaged."
    if done.returncode:
        return (done.stdout.strip().splitlines() or ["it cannot be run."])[-1]
    return ""


def check_tflite_runs(path: str | os.PathLike) -> None:
    """Checks that a TFLite file that has passed `check_tflite_file` can be run.

    Raises:
      ModelFileError: it cannot be run, or it crashes the process.
      ImportError: LiteRT is not installed.
    """
    from levit_common.regular_files import ModelFileError

    reason = probe(Path(path).absolute())
    if reason:
        raise ModelFileError(f"{path}: cannot be loaded as a TFLite file; {reason}")


def _run(path: str) -> str:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=Path(path).read_bytes(), num_threads=1)
        for detail in interpreter.get_input_details():
            if 0 in detail["shape"]:
                shape = [int(size) for size in detail["shape"]]
                return f"its input {detail['name']!r} is empty: shape {shape}."
        # Runners come last: they hold references to the memory, which then cannot be reallocated.
        interpreter.allocate_tensors()
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            interpreter.get_tensor(detail["index"])
        for key in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(key)
            runner.get_output_details()
            details = runner.get_input_details()
            runner(**{name: np.zeros(d["shape"], d["dtype"]) for name, d in details.items()})
    except Exception as error:  # LiteRT's own types of errors
        return " ".join(str(error).split())
    return ""


if __name__ == "__main__":
    reason = _run(sys.argv[1])
    print(reason)
    sys.exit(1 if reason else 0)
