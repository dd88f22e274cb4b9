"""The edges on uvloop, which the server runs on where it installs."""

from __future__ import annotations

import asyncio

import pytest

from ranvier.errors import ConnectionLost, DnsFault, TlsFault
from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.net.dns import DnsResolver
from ranvier.plugs import HttpRequest
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.names import TlsName
from ranvier.protocol.records import RecordKind
from ranvier.protocol.trust import FirstContact, WebPki
from tests.rigs import certs
from tests.rigs.certs import Kind
from tests.rigs.dns import DnsRig, Entry, Name, Trouble
from tests.rigs.tls import Peer, TlsListener, http, responding

NAME = TlsName("a.test")
BODY = bytes(3_000_000)
PUT = HttpRequest(method="PUT", target="/", host="a.test", body=BODY)


async def exchanges(wire: NetWire, to: Address) -> None:
    link = await wire.dial(to, NAME, WebPki())
    limits = Limits().exchange(body_bytes=len(BODY))
    for _ in range(2):
        assert (await link.exchange(PUT, limits)).body == BODY
    await link.close()


async def refusals(wire: NetWire, listener: TlsListener) -> None:
    listener.identity = certs.certificate(Kind.EXPIRED, "a.test")
    with pytest.raises(TlsFault) as refused:
        await wire.dial(listener.address, NAME, WebPki())
    assert refused.value.code == "tls-expired"
    assert refused.value.certificates == listener.identity.chain


async def closing(wire: NetWire, listener: TlsListener) -> None:
    def hang(peer: Peer) -> None:
        peer.read_request()
        peer.wait(10)

    listener.handler = hang
    link = await wire.dial(listener.address, NAME, FirstContact())
    waiting = asyncio.ensure_future(link.exchange(PUT, Limits().exchange(body_bytes=9)))
    await asyncio.sleep(0.1)
    await link.close()
    with pytest.raises(ConnectionLost):
        await waiting


async def questions(rig: DnsRig) -> None:
    dns = DnsResolver(SystemClock(), Limits(dns_seconds=0.3), (rig.address,), None)
    answers = await asyncio.gather(*(dns.ask("a.test", RecordKind.A) for _ in range(10)))
    assert {each.addresses for each in answers} == {("10.0.0.1",)}
    assert (await dns.ask("cut.test", RecordKind.A)).addresses == ("127.0.0.1",)
    with pytest.raises(DnsFault):
        await dns.ask("silent.test", RecordKind.A)


def test_the_edges_run_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    policy = AddressPolicy(allow_private=True)
    wire = NetWire(SystemClock(), Limits(), policy, certs.authority().file)
    zone: dict[str, Entry] = {
        "a.test": Name(a=["10.0.0.1"]),
        "cut.test": Trouble.TRUNCATED,
        "silent.test": Trouble.SILENCE,
    }

    async def main() -> None:
        await exchanges(wire, listener.address)
        await refusals(wire, listener)
        await closing(wire, listener)
        await questions(rig)

    echo = responding(lambda seen, _: http(200, seen.body))
    with TlsListener(certs.good("a.test"), echo) as listener, DnsRig(zone) as rig:
        uvloop.run(main())
