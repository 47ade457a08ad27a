"""Hides the start-up messages of TensorFlow's native code, so that commands have readable output.

Only commands hide messages: a program that imports levit_tf sees all messages of TensorFlow. A
command calls `start_keras` after parsing its flags; a package that imports Keras itself, before its
commands could do so, checks `is_starting_command`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def is_starting_command() -> bool:
    """Returns whether a package is being imported by `python -m package.module`.

    Python implements `-m` in the module runpy, and the main module has no `__file__` until its
    package has been imported.
    """
    return "runpy" in sys.modules and not hasattr(sys.modules["__main__"], "__file__")


def start_keras() -> None:
    """Imports Keras and its backend; shows their messages only if the import fails."""
    with quiet_native_output():
        import keras  # noqa: F401


@contextlib.contextmanager
def quiet_native_output() -> Iterator[None]:
    """Hides stderr output in the block, and shows it if the block fails.

    It is meant for importing TensorFlow, which reports the devices that it found before any of its
    settings can prevent it. Of later messages of its C++ code only fatal ones are shown. If the
    user has set TF_CPP_MIN_LOG_LEVEL, nothing is hidden here.
    """
    if _LEVEL in os.environ:
        yield
        return
    os.environ[_LEVEL] = "3"
    with held_stderr():
        yield


@contextlib.contextmanager
def held_stderr() -> Iterator[None]:
    """Hides stderr output in the block, including that of native code.

    The output is shown if the block fails.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            with open(terminal, "wb", closefd=False) as shown:
                shutil.copyfileobj(held, shown)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
