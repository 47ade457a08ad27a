"""The console scripts of the wheel: `levit-train` is `python -m training.main`, and so on.

Unlike `python -m`, a script does not search the current folder for modules. So it finds the
installed `training` and `serving` even if the current project has folders of these common names.
"""

from __future__ import annotations

import functools
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


# The scripts `levit-train`, `levit-probe` and so on.
train = functools.partial(_run, "training.main")
probe = functools.partial(_run, "training.linear_probe")
evaluate = functools.partial(_run, "training.evaluate")
export = functools.partial(_run, "serving.export")
serve = functools.partial(_run, "serving.server")
client = functools.partial(_run, "serving.client")
edge = functools.partial(_run, "serving.edge")
batch = functools.partial(_run, "serving.batch")
web_app = functools.partial(_run, "serving.web_app")


def classify() -> None:
    """levit-classify."""
    start_keras()  # without messages, before importing levit_tf would start it with them
    _run("levit_tf.classify")


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
