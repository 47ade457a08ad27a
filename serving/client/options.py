"""Flags shared by the client commands: the server, the model and the encryption."""

from __future__ import annotations

from absl import flags

from serving.client.client import DEFAULT_MODEL
from serving.client.transports import Tls

_PORTS = {False: 8500, True: 8501}  # TensorFlow Serving's default ports for gRPC and REST

flags.disclaim_key_flags()  # they belong to the command that defines them


def define_server_flags() -> None:
    """Defines --server, --rest, --model, --version, --label and the flags for TLS."""
    flags.DEFINE_string(
        "server",
        None,
        "HOST:PORT for gRPC, http://HOST:PORT for REST; by default localhost:8500, with --rest "
        "localhost:8501.",
    )
    flags.DEFINE_bool("rest", False, "Use REST instead of gRPC.")
    flags.DEFINE_string("model", DEFAULT_MODEL, "Name of the model.")
    flags.DEFINE_integer("version", None, "Version of the model; the newest by default.")
    flags.DEFINE_string("label", None, "Label of a version, such as stable.")
    flags.DEFINE_bool("tls", False, "Use encryption, trusting the usual authorities.")
    flags.DEFINE_string("root_certificates", None, "PEM file of the authorities to trust.")
    flags.DEFINE_string("certificate", None, "PEM file of the client's own certificate.")
    flags.DEFINE_string("key", None, "PEM file of the key of that certificate.")


def check_server_flags() -> None:
    """Raises ValueError if flags of `define_server_flags` contradict each other."""
    if flags.FLAGS.version is not None and flags.FLAGS.label is not None:
        raise ValueError("--version and --label both name a version; give one of them.")


def tls() -> Tls | None:
    """Returns the encryption that the flags ask for.

    Raises:
      ValueError: the flags contradict each other.
    """
    args = flags.FLAGS
    files = (args.root_certificates, args.certificate, args.key)
    return Tls(*files) if args.tls or any(files) else None


def address() -> str:
    """Returns the address of the server, for REST with its scheme."""
    server = flags.FLAGS.server or f"localhost:{_PORTS[flags.FLAGS.rest]}"
    if not flags.FLAGS.rest or "://" in server:
        return server
    return f"{'http' if tls() is None else 'https'}://{server}"


def check_positive(*names: str) -> None:
    """Checks that flags are positive numbers.

    Raises:
      ValueError: one of them is not positive and finite.
    """
    for name in names:
        value = flags.FLAGS[name].value
        if not 0 < value < float("inf"):
            raise ValueError(f"--{name}: expected a positive number. Received: {value}")
