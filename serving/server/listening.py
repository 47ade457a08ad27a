"""Sockets that listen, and an error that says how to get one."""

from __future__ import annotations

import socket


def listening_socket(host: str, port: int, protocol: str, flag: str) -> socket.socket:
    """A TCP socket that listens.

    Args:
      host: address to listen on.
      port: to listen on.
      protocol: for the error, such as REST.
      flag: for the error, by which another port is chosen.

    Raises:
      OSError: the port is taken, or the address is not one of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise OSError(
            f"{protocol} cannot listen on {host}:{port}: {error.strerror}. Choose another {flag} "
            f"or --host."
        ) from error
