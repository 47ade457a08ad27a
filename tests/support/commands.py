"""Commands, run in this process."""

from __future__ import annotations

import types
from collections.abc import Sequence

from absl import app
from absl.testing import flagsaver


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
