"""Serves SavedModels by TensorFlow Serving's protocols, where that itself cannot run.

python -m serving.server --model_config_file=models.config --port=8500 --rest_api_port=8501
"""

from __future__ import annotations

import os
import signal
import sys
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from absl import app, flags, logging

from serving.server.errors import ServingError
from serving.server.flags import define_flags, options_from_flags
from serving.server.server import Server


class _StoppedError(Exception):
    """The server was told to stop while it was starting."""


def main(argv: list[str]) -> None:
    """Runs the server until SIGTERM or SIGINT."""
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
        if len(argv) > 1:
            raise ValueError(f"Unexpected arguments: {' '.join(argv[1:])}")
        server = Server(options_from_flags(flags.FLAGS))
        server.start()
        starting = False
        stop.wait()
        logging.info("Stopping: no new requests, the accepted ones are answered.")
    except _StoppedError:
        pass
    except (OSError, ValueError, ServingError) as error:
        print(f"error: {error}", file=sys.stderr)
        _end(server, 1)
    _end(server, 0)


def _end(server: Server | None, code: int) -> None:
    if server is not None:
        server.stop()
    logging.flush()
    sys.stderr.flush()
    # Threads of libraries may be inside C++ still; they must not meet an interpreter that is gone.
    os._exit(code)


if __name__ == "__main__":
    define_flags()
    app.run(main)
