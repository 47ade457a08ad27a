"""Flags that the commands of clients share: which server, which model, how encrypted."""

from __future__ import annotations

from absl import flags

from serving.client.client import DEFAULT_MODEL
from serving.client.transports import Tls

_PORTS = {False: 8500, True: 8501}  # TensorFlow Serving's, for gRPC and for REST

flags.disclaim_key_flags()  # they are of the command that defines them


def define_server_flags() -> None:
    """Defines --server, --rest, --model, --version, --label and the files of TLS."""
    flags.DEFINE_string(
        "server",
        None,
        "HOST:PORT for gRPC, http://HOST:PORT for REST; by default localhost:8500, with --rest "
        "localhost:8501.",
    )
    flags.DEFINE_bool("rest", False, "REST instead of gRPC.")
    flags.DEFINE_string("model", DEFAULT_MODEL, "Its name.")
    flags.DEFINE_integer("version", None, "Of the model; the newest by default.")
    flags.DEFINE_string("label", None, "Of a version, such as stable.")
    flags.DEFINE_bool("tls", False, "Encrypted, by the usual authorities.")
    flags.DEFINE_string("root_certificates", None, "Of the authorities to trust, a PEM file.")
    flags.DEFINE_string("certificate", None, "The client's own, a PEM file.")
    flags.DEFINE_string("key", None, "Of that certificate, a PEM file.")


def check_server_flags() -> None:
    """Raises ValueError for flags of `define_server_flags` that do not go together."""
    if flags.FLAGS.version is not None and flags.FLAGS.label is not None:
        raise ValueError("--version and --label both name a version; give one of them.")


def tls() -> Tls | None:
    """The encryption that the flags ask for.

    Raises:
      ValueError: they do not go together.
    """
    args = flags.FLAGS
    files = (args.root_certificates, args.certificate, args.key)
    return Tls(*files) if args.tls or any(files) else None


def address() -> str:
    """The address of the server, with the scheme where it is REST."""
    server = flags.FLAGS.server or f"localhost:{_PORTS[flags.FLAGS.rest]}"
    if not flags.FLAGS.rest or "://" in server:
        return server
    return f"{'http' if tls() is None else 'https'}://{server}"


def check_positive(*names: str) -> None:
    """Checks flags that are numbers.

    Raises:
      ValueError: one of them is not positive and finite.
    """
    for name in names:
        value = flags.FLAGS[name].value
        if not 0 < value < float("inf"):
            raise ValueError(f"--{name}: expected a positive number. Received: {value}")
