"""The console scripts of the wheel: `levit-train` is `python -m training.main`, and so on.

Unlike `python -m`, a script does not search the current folder for modules. So it finds the
installed `training` and `serving` even if the current project has folders of these common names.
"""

from __future__ import annotations

import importlib
import runpy
import sys

from levit_common.quiet import start_keras
from levit_common.spelling import did_you_mean

# Commands of `levit-convert`.
CONVERTERS = (
    "choose",
    "from-pytorch",
    "from-pytorch-efficientnet-lite",
    "from-pytorch-regnet",
    "qat",
    "recalibrate",
    "report",
    "to-dynamic",
    "to-hub",
    "to-onnx",
    "to-pytorch",
    "to-saved-model",
    "to-tflite",
    "verify",
)


def _run(module: str) -> None:
    """Runs a module like `python -m`."""
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def train() -> None:
    """levit-train."""
    _run("training.main")


def probe() -> None:
    """levit-probe."""
    _run("training.linear_probe")


def evaluate() -> None:
    """levit-evaluate."""
    _run("training.evaluate")


def classify() -> None:
    """levit-classify."""
    start_keras()  # without messages, before importing levit_tf would start it with them
    _run("levit_tf.classify")


def export() -> None:
    """levit-export."""
    _run("serving.export")


def serve() -> None:
    """levit-serve."""
    _run("serving.server")


def client() -> None:
    """levit-client."""
    _run("serving.client")


def edge() -> None:
    """levit-edge."""
    _run("serving.edge")


def convert() -> None:
    """levit-convert COMMAND ...; without a command it lists the commands."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in CONVERTERS:
        del sys.argv[1]
        _run(_module(command))
        return
    if command in ("--help", "-h"):
        print("levit-convert COMMAND ...; levit-convert COMMAND --help lists its flags.\n")
        for name in CONVERTERS:
            summary = importlib.import_module(_module(name)).__doc__.splitlines()[0]
            print(f"  {name:30} {summary}")
        return
    hint = did_you_mean(command, CONVERTERS)
    sys.exit(f"error: unknown command {command!r}.{hint} Known: {', '.join(CONVERTERS)}.")


def _module(command: str) -> str:
    return f"converters.{command.replace('-', '_')}"
