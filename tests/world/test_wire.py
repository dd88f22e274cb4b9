"""What the world's wire keeps of all that happens, and what only it can do: loss and delays."""

from __future__ import annotations

import asyncio

import pytest

from ranvier.errors import AddressRefused, ConnectFault, NetworkFault, TimedOut, TlsFault
from ranvier.limits import ExchangeLimits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.certificates import Certificates
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import FirstContact, Pinned, WebPki
from ranvier.world import Fault, Flaw, Host, World

NAME = TlsName("a.test")
AT = Address("10.0.0.1", 8448)
GET = HttpRequest(method="GET", target="/", host="a.test")


def standing(world: World, **more: float) -> Host:
    host = world.host("10.0.0.1", 8448, certificate=world.certificate("a.test"))
    for name, value in more.items():
        setattr(host, name, value)
    return host


async def code_of(world: World, to: Address = AT) -> str:
    with pytest.raises(NetworkFault) as raised:
        await world.wire.dial(to, NAME, WebPki())
    return raised.value.code


async def test_every_attempt_is_kept_with_its_outcome() -> None:
    world = World()
    host = standing(world)
    await world.wire.look(AT, NAME)
    link = await world.wire.dial(AT, NAME, FirstContact())
    await link.exchange(GET, ExchangeLimits())
    host.fault = Fault.REFUSE
    await world.clock.sleep(3)
    await code_of(world)
    host.fault = Fault.TLS_SILENT
    task = asyncio.create_task(world.wire.dial(AT, TlsName("10.0.0.1", True), Pinned(frozenset())))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    kept = [
        (each.trusted, each.sni, each.at, each.outcome, each.requests)
        for each in world.wire.attempts
    ]
    assert kept == [
        ("look", "a.test", 0, "ok", 0),
        ("first-contact", "a.test", 0, "ok", 1),
        ("web-pki", "a.test", 3, "connect-refused", 0),
        ("pinned", None, 3, "cancelled", 0),
    ]


async def test_a_request_is_kept_with_its_bytes() -> None:
    world = World()
    standing(world)
    link = await world.wire.dial(AT, NAME, WebPki())
    request = HttpRequest(
        method="PUT", target="/x?", host="a.test", headers=(("X-Y", "z"),), body=b"{}"
    )
    assert (await link.exchange(request, ExchangeLimits())).status == 404
    kept = world.wire.requests[0]
    assert (kept.request, kept.address, kept.sni, kept.at) == (request, AT, "a.test", 0)
    assert kept.raw == b"PUT /x? HTTP/1.1\r\nHost: a.test\r\nX-Y: z\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.req("SEC-05")
async def test_a_refused_address_is_no_attempt() -> None:
    world = World()
    for ip in ("127.0.0.1", "192.168.0.1", "169.254.169.254", "::ffff:127.0.0.1"):
        with pytest.raises(AddressRefused):
            await world.wire.dial(Address(ip, 443), NAME, WebPki())
    assert world.wire.attempts == []
    assert [each.ip for each in world.wire.refused][:2] == ["127.0.0.1", "192.168.0.1"]


async def test_a_worlds_public_networks_are_public_and_its_policy_may_be_replaced() -> None:
    assert await code_of(World(), Address("10.1.2.3", 1)) == "connect-refused"
    assert await code_of(World(), Address("fd00::1", 1)) == "connect-refused"
    assert await code_of(World(policy=AddressPolicy())) == "address-refused"


async def test_where_nobody_stands_nobody_answers() -> None:
    world = World()
    standing(world)
    assert await code_of(world, Address("10.0.0.1", 443)) == "connect-refused"
    world.dark("10.0.0.1", "FD00:0:0::7")
    assert await code_of(world) == "connect-timeout"
    assert world.clock.tick() == world.limits.connect_seconds
    assert await code_of(world, Address("fd00::7", 1)) == "connect-timeout"


async def test_unreachable_is_not_refused() -> None:
    world = World()
    standing(world).fault = Fault.UNREACHABLE
    with pytest.raises(ConnectFault) as raised:
        await world.wire.look(AT, NAME)
    assert raised.value.code == "connect-unreachable"


async def test_delays_add_up_and_are_facts() -> None:
    world = World()
    standing(world, connect_seconds=0.5, handshake_seconds=0.25, answer_seconds=2)
    link = await world.wire.dial(AT, NAME, WebPki())
    assert (link.facts.tcp_seconds, link.facts.tls_seconds) == (0.5, 0.25)
    await link.exchange(GET, ExchangeLimits())
    assert world.clock.tick() == 2.75


async def test_a_delay_beyond_the_limit_is_a_time_out() -> None:
    world = World()
    host = standing(world, connect_seconds=11)
    assert await code_of(world) == "connect-timeout"
    host.connect_seconds, host.handshake_seconds = 5, 6
    assert await code_of(world) == "tls-timeout"
    host.connect_seconds = host.handshake_seconds = 0
    host.answer_seconds = 31
    link = await world.wire.dial(AT, NAME, WebPki())
    with pytest.raises(TimedOut):
        await link.exchange(GET, ExchangeLimits(seconds=30))


async def test_lost_packets_are_sent_again_after_one_two_and_four_seconds() -> None:
    world = World(seed=3)
    standing(world, loss=0.5)
    times = set()
    for _ in range(40):
        began = world.clock.tick()
        try:
            await world.wire.dial(AT, NAME, WebPki())
        except TimedOut:
            continue
        times.add(world.clock.tick() - began)
    assert times == {0, 1, 3, 7}
    standing(world, loss=1.0)
    assert await code_of(world) == "connect-timeout"


async def test_the_same_seed_loses_the_same_packets() -> None:
    async def history(seed: int) -> list[str]:
        world = World(seed=seed)
        standing(world, loss=0.7)
        await asyncio.gather(
            *(world.wire.dial(AT, NAME, WebPki()) for _ in range(30)), return_exceptions=True
        )
        return [each.outcome for each in world.wire.attempts]

    assert await history(1) == await history(1) != await history(2)


async def test_a_host_without_a_certificate_for_the_name_ends_the_handshake() -> None:
    world = World()
    world.host("10.0.0.1", 8448, sni={"B.test": world.certificate("b.test")})
    assert await code_of(world) == "tls-alert"
    assert (await world.wire.look(AT, TlsName("b.TEST"))).chain


async def test_a_chain_that_cannot_be_read_is_a_bad_certificate() -> None:
    world = World()
    host = standing(world)
    host.certificates = {None: Certificates((b"\x30\x00",))}
    assert await code_of(world) == "tls-certificate"
    host.certificates = {None: Certificates((b"",))}
    with pytest.raises(TlsFault) as raised:
        await world.wire.dial(AT, NAME, FirstContact())
    assert raised.value.code == "tls-certificate-missing"


async def test_a_certificate_runs_out_as_time_goes_by() -> None:
    world = World()
    standing(world)
    await world.wire.dial(AT, NAME, WebPki())
    world.clock.advance(91 * 86400)
    assert await code_of(world) == "tls-expired"
    standing(world)  # a new one, valid now
    await world.wire.dial(AT, NAME, WebPki())


async def test_a_handler_sees_time_and_may_wait() -> None:
    world = World()

    async def slowly(request: HttpRequest) -> HttpResponse:
        await world.clock.sleep(4)
        return HttpResponse(status=200, body=request.target.encode())

    world.host("10.0.0.1", 8448, certificate=world.certificate("a.test"), serves=slowly)
    link = await world.wire.dial(AT, NAME, WebPki())
    assert (await link.exchange(GET, ExchangeLimits())).body == b"/"
    assert world.clock.tick() == 4


async def test_head_and_statuses_without_a_body_have_none() -> None:
    world = World()

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=204 if request.target == "/204" else 200, body=b"body")

    world.host("10.0.0.1", 8448, certificate=world.certificate("a.test"), serves=handler)
    link = await world.wire.dial(AT, NAME, WebPki())
    for method, target in (("HEAD", "/"), ("GET", "/204")):
        request = HttpRequest(method=method, target=target, host="a.test")
        assert (await link.exchange(request, ExchangeLimits())).body == b""


def test_each_flaw_makes_a_certificate() -> None:
    world = World()
    for flaw in Flaw:
        credential = world.certificate("a.test", flaw=flaw)
        assert credential.leaf == credential.chain[0]
        assert credential.pem.count(b"BEGIN CERTIFICATE") == len(credential.chain)
        assert b"PRIVATE KEY" in credential.key
