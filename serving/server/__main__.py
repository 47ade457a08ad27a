"""Serves SavedModels with TensorFlow Serving's protocols, where that itself cannot run.

python -m serving.server --model_config_file=models.config --port=8500 --rest_api_port=8501
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from absl import flags, logging

from levit_common import cli
from serving.server.flags import define_flags, options_from_flags

if TYPE_CHECKING:
    from serving.server.server import Server


class _StoppedError(Exception):
    """The server was asked to stop while it was starting."""


def main() -> None:
    """Runs the server until SIGTERM or SIGINT."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # later messages are for the log
    import tensorflow as tf

    from serving.server.errors import ServingError
    from serving.server.server import Server

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.INFO)
    if flags.FLAGS.version:
        print(f"TensorFlow ModelServer stand-in\nTensorFlow Library: {tf.__version__}")
        return
    stop = threading.Event()
    starting = True

    def on_signal(number, frame) -> None:
        stop.set()
        if starting:
            raise _StoppedError

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    server = None
    try:
        server = Server(options_from_flags(flags.FLAGS))
        server.start()
        starting = False
        stop.wait()
        logging.info("Stopping: no new requests, the accepted ones are answered.")
    except _StoppedError:
        pass
    except (OSError, ValueError, ImportError, ServingError) as error:
        print(f"error: {error}", file=sys.stderr)
        _end(server, 1)
    _end(server, 0)


def _end(server: Server | None, code: int) -> None:
    if server is not None:
        server.stop()
    logging.flush()
    sys.stderr.flush()
    # Library threads may still run C++ code; they must not meet an interpreter that has ended.
    os._exit(code)


def check() -> None:
    if not flags.FLAGS.version:
        options_from_flags(flags.FLAGS)


COMMAND = cli.Command(main, define_flags, check, starts_keras=False)

if __name__ == "__main__":
    COMMAND.run()
