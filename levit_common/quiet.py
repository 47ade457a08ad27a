"""Commands whose own words are not drowned in the start-up chatter of TensorFlow's native code.

Only commands hold anything back: a program that imports levit_tf sees all that TensorFlow has to
say. A command starts Keras by `start_keras` once its flags are parsed; a package whose commands
cannot wait for that, because it imports Keras itself, asks `is_starting_command`.
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
    """Whether this is the import of a package for `python -m package.module`.

    Python's `-m` is the module runpy, and the main module has no file until the package is there.
    """
    return "runpy" in sys.modules and not hasattr(sys.modules["__main__"], "__file__")


def start_keras() -> None:
    """Imports Keras and its backend, without their messages unless that fails."""
    with quiet_native_output():
        import keras  # noqa: F401


@contextlib.contextmanager
def quiet_native_output() -> Iterator[None]:
    """Holds back what is written to stderr in the block, and shows it if the block fails.

    For importing TensorFlow, which says what devices it found before any setting of its own can
    stop it. Later messages of its C++ code are reduced to fatal ones. Whoever has set
    TF_CPP_MIN_LOG_LEVEL gets everything that asks for.
    """
    if _LEVEL in os.environ:
        yield
        return
    os.environ[_LEVEL] = "3"
    with held_stderr():
        yield


@contextlib.contextmanager
def held_stderr() -> Iterator[None]:
    """Holds back what is written to stderr in the block, native code included.

    It is shown if the block fails.
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
