"""Checks the host names and the origins of requests to the REST API.

Any web page in a browser on this machine can send requests to a server on loopback. A page whose
owner lets its name resolve to 127.0.0.1 (DNS rebinding) can even read the responses, but sends its
own name as Host; any other page sends its Origin.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable

import grpc

from serving.server.errors import ServingError

ANY = "*"
_ORIGIN = re.compile(r"https?://([^/?#@\s]+)", re.IGNORECASE)
_PORT = re.compile(r":[0-9]*$")
_DEFAULT_PORTS = (":80", ":443")


@dataclasses.dataclass(frozen=True)
class Origins:
    """Rules for the headers Host and Origin.

    Attributes:
      loopback_only: whether the server listens on loopback, and accepts only loopback names.
      hosts: further names, or `ANY` for all. If the server does not listen on loopback, these are
        the only names, unless empty.
      origins: origins of other pages that may send requests, such as https://example.com; or `ANY`.
      on_refused: called with the flag that would have allowed a refused request.
    """

    loopback_only: bool = False
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    on_refused: Callable[[str], None] = lambda flag: None

    def check(self, host: str | None, origin: str | None) -> dict[str, str]:
        """Refuses requests for other names and from other pages.

        Args:
          host: the header Host of a request; None without it.
          origin: the header Origin; None without it, in which case the request is not from a page,
            or asks for nothing that a page of another origin could read.

        Returns:
          Headers for the response.

        Raises:
          ServingError: PERMISSION_DENIED, with the flag that would allow the request.
        """
        if host is not None and not self._answers_to(_PORT.sub("", host).lower()):
            self.on_refused("allowed_hosts")
            raise ServingError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"This server does not answer to the name {host[:100]!r}; --allowed_hosts adds "
                f"names.",
            )
        if origin is None or _is_same(origin, host):
            return {}
        if not self.lets_in(origin):
            self.on_refused("cors_allowed_origins")
            raise ServingError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"Pages of {origin[:100]!r} may not ask this server; --cors_allowed_origins adds "
                f"origins.",
            )
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def lets_in(self, origin: str) -> bool:
        """Whether pages of another origin may send requests."""
        return ANY in self.origins or origin.lower() in self.origins

    def _answers_to(self, name: str) -> bool:
        if ANY in self.hosts or name in self.hosts:
            return True
        return is_loopback(name) if self.loopback_only else not self.hosts


def is_loopback(name: str) -> bool:
    """Whether a host name always means this machine, independently of name servers."""
    name = name.strip("[]").removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def listed(values: str) -> frozenset[str]:
    """Splits the comma-separated names of a flag."""
    return frozenset(value.strip().lower().rstrip("/") for value in values.split(",") if value)


def _is_same(origin: str, host: str | None) -> bool:
    match = _ORIGIN.fullmatch(origin)
    if match is None or host is None:
        return False
    sides = []
    for side in (match[1].lower(), host.lower()):
        for port in _DEFAULT_PORTS:
            side = side.removesuffix(port)
        sides.append(side)
    return sides[0] == sides[1]
