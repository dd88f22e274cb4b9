"""A broken set-up is a few readable lines."""

from __future__ import annotations

import pytest

from ranvier.errors import TlsFault
from ranvier.limits import ExchangeLimits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.addresses import Address
from ranvier.protocol.names import TlsName
from ranvier.protocol.records import RecordKind
from ranvier.protocol.trust import WebPki
from ranvier.world import Flaw, World


async def handler(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=200, body=request.target.encode())


async def test_a_world_resolves_connects_and_answers() -> None:
    world = World({"fed1.example.org": ["10.0.0.1", "fd00::1"]})
    world.dns.srv("_matrix-fed._tcp.example.org", (10, 5, 8448, "fed1.example.org"))
    world.host("10.0.0.1", 8448, certificate=world.certificate("example.org"), serves=handler)

    service = (await world.dns.ask("_matrix-fed._tcp.EXAMPLE.org", RecordKind.SRV)).services[0]
    address = (await world.dns.ask(service.target, RecordKind.A)).addresses[0]
    link = await world.wire.dial(
        Address(address, service.port), TlsName("example.org"), trust=WebPki()
    )
    request = HttpRequest(method="GET", target="/x?", host="example.org")
    response = await link.exchange(request, ExchangeLimits())
    assert response.body == b"/x?"
    assert world.wire.attempts[0].sni == "example.org"
    assert world.wire.requests[0].request == request


@pytest.mark.req("TLS-02", "TLS-09")
async def test_a_wrong_certificate_gets_no_request() -> None:
    world = World()
    bad = world.certificate("example.org", flaw=Flaw.EXPIRED)
    world.host("10.0.0.1", 8448, certificate=bad, serves=handler)
    with pytest.raises(TlsFault) as caught:
        await world.wire.dial(Address("10.0.0.1", 8448), TlsName("example.org"), WebPki())
    assert caught.value.certificates == bad.chain
    assert world.wire.requests == []
