"""Opens listening sockets, with errors that say what to change."""

from __future__ import annotations

import socket


def listening_socket(host: str, port: int, protocol: str, flag: str) -> socket.socket:
    """Opens a listening TCP socket.

    Args:
      host: address to listen on.
      port: port to listen on.
      protocol: name of the protocol, such as REST, for the error.
      flag: the flag that sets the port, for the error.

    Raises:
      OSError: the port is taken, or the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise OSError(
            f"{protocol} cannot listen on {host}:{port}: {error.strerror}. Choose another {flag} "
            f"or --host."
        ) from error
