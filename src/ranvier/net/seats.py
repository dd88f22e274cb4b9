"""How many connections one client may have, so that it cannot keep others out.

A client is an IPv4 address or the /64 of an IPv6 address, which is the least that
one machine is given. Proxies of ours stand for many and are not counted.
"""

from __future__ import annotations

import ipaddress

MANY = ""
"""The client that stands for many."""


def client_of(ip: str) -> str:
    """Whose connection comes from this socket address."""
    parsed = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return ip
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


class Seats:
    """The connections of each client, in their handshake or past it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sitting: dict[str, set[object]] = {}

    def sit(self, client: str, who: object) -> None:
        """A connection begins."""
        self._sitting.setdefault(client, set()).add(who)

    def leave(self, client: str, who: object) -> None:
        """A connection ends; it may have ended before."""
        sitting = self._sitting.get(client, set())
        sitting.discard(who)
        if not sitting:
            self._sitting.pop(client, None)

    def full(self, client: str) -> bool:
        """Whether this client has had its share."""
        return client != MANY and len(self.of(client)) >= self._most

    def of(self, client: str) -> set[object]:
        """All that this client has."""
        return self._sitting.get(client, set())
