"""Which names the REST API answers to, and which web pages may ask it.

A browser on this machine reaches a server on loopback for any page it shows. A page whose name its
owner lets resolve to 127.0.0.1 (DNS rebinding) can even read the answers, but sends its own name as
Host; any other page sends its Origin.
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
      loopback_only: whether the server listens on loopback, and answers to its names only.
      hosts: further names, `ANY` for all; where the server listens elsewhere, the only ones, if
        there are some.
      origins: of other pages that may ask, such as https://example.com; `ANY` for all.
      on_refused: told the flag that would have let a refused request in.
    """

    loopback_only: bool = False
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    on_refused: Callable[[str], None] = lambda flag: None

    def check(self, host: str | None, origin: str | None) -> dict[str, str]:
        """Refuses requests for other names and from other pages.

        Args:
          host: the header Host of a request; None: it has none.
          origin: its header Origin; None: it has none, so it is no page's, or asks for nothing
            that a page of another origin could not have shown.

        Returns:
          Headers for the answer.

        Raises:
          ServingError: PERMISSION_DENIED, with the flag that would let it in.
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
        """Whether pages of another origin may ask."""
        return ANY in self.origins or origin.lower() in self.origins

    def _answers_to(self, name: str) -> bool:
        if ANY in self.hosts or name in self.hosts:
            return True
        return is_loopback(name) if self.loopback_only else not self.hosts


def is_loopback(name: str) -> bool:
    """Whether a host is this machine and no other, whatever a name server says."""
    name = name.strip("[]").removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def listed(values: str) -> frozenset[str]:
    """The names in a flag, with commas between."""
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
