"""Commands, run in this process or in one of their own."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import types
from collections.abc import Sequence

from absl import app
from absl.testing import flagsaver

# As in a user's terminal, whatever the tests themselves set.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}


def call(module: types.ModuleType, arguments: Sequence[object]) -> int:
    """Runs a command and returns its exit code; its flags are gone afterwards.

    Args:
      module: the command's, with its `COMMAND`.
      arguments: what would stand after the program's name.
    """
    app.define_help_flags()
    with flagsaver.flagsaver():
        module.COMMAND.define_flags()
        return module.COMMAND.call([str(argument) for argument in arguments])


def command_module(name: str) -> types.ModuleType:
    """The module that `python -m name` runs."""
    module = importlib.import_module(name)
    return importlib.import_module(f"{name}.__main__") if hasattr(module, "__path__") else module


def run_process(name: str, *arguments: object) -> subprocess.CompletedProcess:
    """Runs `python -m name` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", name, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
