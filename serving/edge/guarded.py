"""Runs work in a separate process, because LiteRT crashes on some damaged files.

`levit_lite.opening.tflite_probe` runs such a file twice. Here nothing is loaded twice, so that the
first result is not delayed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def run_guarded(work: Callable[[], int], name: str) -> int:
    """Runs work in a fork of this process, which must not have started threads.

    Args:
      work: returns the exit code.
      name: name of the file that may crash the process, for the message.

    Returns:
      The exit code: that of `work`, 130 after an interrupt, 1 if a signal ended the process.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _end_with(parent)
        signal.signal(signal.SIGINT, _interrupt_once)
        try:
            status = work()
            sys.stdout.flush()
        except KeyboardInterrupt:
            status = 130
        except BrokenPipeError:  # the reader has closed the pipe
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        sys.stderr.flush()
        os._exit(status)
    return _wait(child, name)


def _end_with(parent: int) -> None:
    """Lets the kernel end this process when its parent is killed, which passes nothing on."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was killed before
        os._exit(128 + signal.SIGTERM)


def _interrupt_once(number, frame):
    # A terminal sends its interrupt to both processes, and the parent passes its own on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _wait(child: int, name: str) -> int:
    def pass_on(number, frame):
        os.kill(child, number)

    # A supervisor sends its signals to this process only.
    signal.signal(signal.SIGINT, pass_on)
    signal.signal(signal.SIGTERM, pass_on)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    if -code == signal.SIGTERM:
        return 128 + signal.SIGTERM
    print(
        f"error: {name}: LiteRT ends the process that runs it ({signal.Signals(-code).name}); the "
        "file is damaged.",
        file=sys.stderr,
    )
    return 1
