"""Who answers at an address of the world, with which certificate, and how badly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import Certificates
from ranvier.world.faults import Fault

Handler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse | Fault]]
"""What a host serves; it may return a fault instead of an answer."""


async def nothing_here(request: HttpRequest) -> HttpResponse:
    """The handler of a host that was given none: 404 for everything."""
    return HttpResponse(
        status=404,
        headers=(("content-type", "application/json"),),
        body=b'{"errcode":"M_UNRECOGNIZED","error":"nothing is served here"}',
    )


class Host(msgspec.Struct, kw_only=True):
    """One address and port of the world; every member may be changed while it runs."""

    address: Address
    certificates: dict[str | None, Certificates] = {}
    """By SNI in lower case; ``None`` is shown to all other names and to none."""
    serves: Handler = nothing_here
    fault: Fault | None = None
    connect_seconds: float = 0.0
    handshake_seconds: float = 0.0
    answer_seconds: float = 0.0
    keeps_alive: bool = True
    """Whether it stays for a second request; if not, it leaves without a word."""
    asks_client: bool = False
    """Whether it asks for a client certificate; ``Received.presented`` says which one it saw."""
    loss: float = 0.0
    """The chance in [0, 1] that one connection's first packet is lost (sent again after 1 s,
    2 s, 4 s ...)."""

    def shows(self, sni: str | None) -> Certificates:
        """The chain for one SNI."""
        found = self.certificates.get(sni.lower() if sni else None)
        return found or self.certificates.get(None, Certificates())
