"""Arguments that the commands of clients share: which server, which model, how encrypted."""

from __future__ import annotations

import argparse
import math

from serving.client.client import DEFAULT_MODEL
from serving.client.transports import Tls

_PORTS = {False: 8500, True: 8501}  # TensorFlow Serving's, for gRPC and for REST


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds --server, --rest, --model, --version, --label and the files of TLS."""
    parser.add_argument(
        "--server",
        metavar="ADDRESS",
        help="HOST:PORT for gRPC, http://HOST:PORT for REST (default: localhost:8500, with --rest "
        "localhost:8501)",
    )
    parser.add_argument("--rest", action="store_true", help="REST instead of gRPC")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="its name (default: %(default)s)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--version", type=int, metavar="N", help="default: the newest")
    choice.add_argument("--label", help="of a version, such as stable")
    parser.add_argument("--tls", action="store_true", help="encrypted, by the usual authorities")
    parser.add_argument("--root_certificates", metavar="PEM", help="of the authorities to trust")
    parser.add_argument("--certificate", metavar="PEM", help="the client's own")
    parser.add_argument("--key", metavar="PEM", help="of that certificate")


def tls(options: argparse.Namespace) -> Tls | None:
    """The encryption that the arguments ask for.

    Raises:
      ValueError: they do not go together.
    """
    files = (options.root_certificates, options.certificate, options.key)
    return Tls(*files) if options.tls or any(files) else None


def address(options: argparse.Namespace) -> str:
    """The address of the server, with the scheme where it is REST."""
    server = options.server or f"localhost:{_PORTS[options.rest]}"
    if not options.rest or "://" in server:
        return server
    return f"{'http' if tls(options) is None else 'https'}://{server}"


def positive(text: str) -> int:
    """A positive integer.

    Raises:
      argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """A positive number.

    Raises:
      argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value
