"""Connections kept open: who gets which, how many idle, and when they go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ranvier.errors import ConnectionLost, Unreachable
from ranvier.limits import Limits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.names import ServerName
from ranvier.protocol.trust import Pinned, WebPki
from ranvier.services.connector import Connection, Connector, Idle, none_idle
from ranvier.services.pool import Borrowed
from ranvier.services.trust import TrustRule
from ranvier.trail import Recorder
from ranvier.world import Fault, Flaw, MatrixServer
from tests.services.clientrig import NAME, ClientRig

PEER = ServerName(NAME)
ANSWER = b'{"answer":true}'


def with_peers(rig: ClientRig, *names: str) -> list[MatrixServer]:
    servers = [rig.world.server(name) for name in names]
    for server in servers:
        server.answers["/x"] = ANSWER
    return servers


@pytest.fixture
def rig() -> ClientRig:
    return ClientRig()


async def borrowed(rig: ClientRig, name: str = NAME, **more: object) -> Borrowed:
    recorder = Recorder(rig.world.clock.tick)
    given = {"trust": WebPki(), "recorder": recorder} | more
    return await rig.pool.borrow(ServerName(name), **given)  # type: ignore[arg-type] # any of them


# Who gets which


async def test_the_next_request_goes_over_the_same_connection(rig: ClientRig) -> None:
    with_peers(rig, NAME)
    for _ in range(5):
        answer = await rig.request()
    assert rig.connections() == 1
    [dial] = answer.trail.of("dial")
    assert dial.evidence["reused"] is True
    assert rig.pool.idle == 1


async def test_requests_at_once_take_connections_of_their_own(rig: ClientRig) -> None:
    with_peers(rig, NAME)[0].host.answer_seconds = 1
    await asyncio.gather(*(rig.request() for _ in range(3)))
    assert rig.connections() == 3
    await asyncio.gather(*(rig.request() for _ in range(3)))
    assert rig.connections() == 3


async def test_names_of_one_route_share_its_connections(rig: ClientRig) -> None:
    first = rig.world.server(NAME, well_known="shared.example:443")
    rig.world.server("other.example", well_known="shared.example:443")
    first.answers["/x"] = ANSWER
    await rig.request()
    before = rig.connections()
    await rig.request(name="other.example")
    snis = [each.sni for each in rig.world.wire.attempts[before:]]
    assert snis == ["other.example"]  # the well-known file's
    assert [each.method for each in first.requests] == ["GET"] * 3


@pytest.mark.req("D25")
@pytest.mark.parametrize(
    "other",
    [
        "route",
        "trust",
        "present",
    ],
)
async def test_what_differs_is_never_shared(rig: ClientRig, other: str) -> None:
    """The same address twice (D25): found by SRV, and named with its port."""
    world = rig.world
    certificate = world.certificate(NAME)
    world.dns.address(NAME, "10.0.0.1")
    world.host("10.0.0.1", 8448, certificate=certificate)
    first = await borrowed(rig)
    await rig.pool.give_back(first)
    match other:
        case "route":
            second = await borrowed(rig, f"{NAME}:8448")
        case "trust":
            second = await borrowed(rig, trust=Pinned(frozenset({fingerprint(certificate.leaf)})))
        case _:
            second = await borrowed(rig, present=True)
    assert not second.reused
    assert rig.connections() == 2
    await rig.pool.give_back(second)


async def test_each_route_is_asked_for_an_open_connection_in_its_turn(rig: ClientRig) -> None:
    world = rig.world
    certificate = world.certificate(NAME)
    world.dns.srv(f"_matrix-fed._tcp.{NAME}", (10, 0, 1, "one.example"), (20, 0, 2, "two.example"))
    world.dns.address("one.example", "10.0.0.1")
    world.dns.address("two.example", "10.0.0.2")
    world.host("10.0.0.1", 1, fault=Fault.REFUSE)
    world.host("10.0.0.2", 2, certificate=certificate)
    for reused in (False, True):
        link = await borrowed(rig)
        assert (link.route.connect, link.reused) == ("two.example", reused)
        await rig.pool.give_back(link)
    assert rig.connections() == 1
    world.host("10.0.0.1", 1, certificate=certificate)
    assert (await borrowed(rig)).route.connect == "one.example"


class Racing(Connector):
    """A connector whose race another link wins after ``idle`` has given one."""

    def __init__(self, inner: Connector) -> None:
        self._inner = inner

    async def connect(self, *given: Any, idle: Idle = none_idle, **more: Any) -> Connection:
        made = await self._inner.connect(*given, **more)
        assert await idle(made.route) is not None
        return made


async def test_what_was_taken_for_a_lost_race_is_closed(rig: ClientRig) -> None:
    with_peers(rig, NAME)
    kept = await borrowed(rig)
    await rig.pool.give_back(kept)
    rig.pool._connector = Racing(rig.connector)
    won = await borrowed(rig)
    assert not won.reused
    assert won.link is not kept.link
    assert not kept.link.reusable
    assert rig.pool.idle == 0
    await rig.pool.give_back(won)
    assert rig.pool.idle == 1


async def test_nothing_open_is_taken_if_a_new_one_is_wanted(rig: ClientRig) -> None:
    with_peers(rig, NAME)
    await rig.request()
    fresh = await borrowed(rig, again=False)
    assert not fresh.reused
    assert rig.pool.idle == 1
    await rig.pool.give_back(fresh)


async def test_no_connection_leaves_nothing_behind(rig: ClientRig) -> None:
    with_peers(rig, NAME)[0].host.fault = Fault.REFUSE
    with pytest.raises(Unreachable):
        await borrowed(rig)
    assert rig.pool.idle == 0
    await rig.pool.close_all()


# What is dead


async def test_who_left_is_not_asked_again(rig: ClientRig) -> None:
    with_peers(rig, NAME)[0].host.keeps_alive = False
    for _ in range(3):
        await rig.request()
    assert rig.connections() == 3
    assert rig.pool.idle == 0


def dying(server: MatrixServer) -> list[str]:
    """From now on the server closes at the first request of each old connection."""
    seen: list[str] = []

    async def serve(request: HttpRequest) -> HttpResponse | Fault:
        seen.append(request.method)
        return Fault.CLOSES if len(seen) == 1 else HttpResponse(status=200, body=ANSWER)

    server.host.serves = serve
    return seen


@pytest.mark.parametrize(
    ("method", "repeatable", "again"),
    [
        ("GET", None, True),
        ("PUT", None, True),
        ("DELETE", None, True),
        ("POST", None, False),  # it may have had its effect
        ("POST", True, True),
        ("GET", False, False),
    ],
)
async def test_a_dead_connection_is_replaced_once(
    rig: ClientRig, method: str, repeatable: bool | None, again: bool
) -> None:
    [server] = with_peers(rig, NAME)
    await rig.request()
    seen = dying(server)
    if not again:
        with pytest.raises(ConnectionLost) as caught:
            await rig.request(method, repeatable=repeatable)
        assert caught.value.code == "no-answer"
        assert rig.back_offs.told[-1] == ("failed", NAME)
        return
    answer = await rig.request(method, repeatable=repeatable)
    assert seen == [method] * 2
    assert [step.evidence.get("reused", False) for step in answer.trail.of("dial")] == [True, False]
    assert [str(step.outcome) for step in answer.trail.of("request")] == ["failed", "ok"]
    assert rig.back_offs.told == [("reached", NAME)] * 2


async def test_a_new_connection_that_dies_is_not_replaced(rig: ClientRig) -> None:
    [server] = with_peers(rig, NAME)
    seen = dying(server)
    with pytest.raises(ConnectionLost):
        await rig.request()
    assert seen == ["GET"]


async def test_half_an_answer_is_not_asked_for_again(rig: ClientRig) -> None:
    [server] = with_peers(rig, NAME)
    await rig.request()
    server.answers["/x"] = Fault.HALF
    with pytest.raises(ConnectionLost):
        await rig.request()
    assert len(server.requests) == 2


@pytest.mark.req("SEED-20")
async def test_a_refused_certificate_of_ours_is_not_shown_again(rig: ClientRig) -> None:
    [server] = with_peers(rig, NAME)
    await rig.request()
    server.answers["/x"] = Fault.REFUSES_CLIENT
    with pytest.raises(ConnectionLost) as caught:
        await rig.request()
    assert caught.value.code == "client-certificate-refused"
    assert len(server.requests) == 2


# How many, and how long


async def test_so_many_idle_per_route() -> None:
    rig = ClientRig(limits=Limits(pool_per_route=2))
    with_peers(rig, NAME)[0].host.answer_seconds = 1
    await asyncio.gather(*(rig.request() for _ in range(5)))
    assert rig.pool.idle == 2


async def test_so_many_idle_in_all_and_the_oldest_go() -> None:
    rig = ClientRig(limits=Limits(pool_connections=2))
    names = [f"s{number}.example" for number in range(3)]
    with_peers(rig, *names)
    for name in names:
        await rig.request(name=name)
    assert rig.pool.idle == 2
    before = rig.connections()
    await rig.request(name=names[2])
    await rig.request(name=names[1])
    assert rig.connections() == before
    await rig.request(name=names[0])
    assert rig.connections() > before


async def test_what_idles_too_long_is_closed_and_the_sweeper_ends(rig: ClientRig) -> None:
    with_peers(rig, NAME, "other.example")
    tasks = asyncio.all_tasks()
    await rig.request()
    await rig.world.clock.sleep(40)
    await rig.request(name="other.example")
    await rig.world.clock.sleep(30)
    assert rig.pool.idle == 1
    await rig.world.clock.sleep(31)
    assert rig.pool.idle == 0
    await rig.world.clock.settle()
    assert asyncio.all_tasks() == tasks
    await rig.request()
    assert rig.pool.idle == 1
    await rig.pool.close_all()


async def test_many_idle_destinations_cost_one_task(rig: ClientRig) -> None:
    names = [f"s{number}.example" for number in range(50)]
    with_peers(rig, *names)
    tasks = asyncio.all_tasks()
    for name in names:
        await rig.request(name=name)
    assert rig.pool.idle == 50
    assert len(asyncio.all_tasks() - tasks) == 1
    await rig.pool.close_all()
    assert rig.pool.idle == 0
    assert asyncio.all_tasks() == tasks


async def test_after_the_end_nothing_is_kept(rig: ClientRig) -> None:
    with_peers(rig, NAME)
    lent = await borrowed(rig)
    await rig.pool.close_all()
    await rig.pool.close_all()
    await rig.pool.give_back(lent)
    assert not lent.link.reusable
    assert rig.pool.idle == 0


# Trust that changes (D5)


async def test_a_name_that_is_forgotten_is_dialled_anew(rig: ClientRig) -> None:
    with_peers(rig, NAME, "other.example")
    await rig.request()
    await rig.request(name="other.example")
    lent = await borrowed(rig)
    await rig.request()  # another connection, idle now
    await rig.pool.forget(PEER)
    assert rig.pool.idle == 1  # the other name's
    await rig.pool.give_back(lent)
    assert not lent.link.reusable


@pytest.mark.req("D5")
async def test_a_change_of_trust_closes_what_was_judged_otherwise(rig: ClientRig) -> None:
    with_peers(rig, NAME)
    kept, lent = await borrowed(rig), await borrowed(rig)
    await rig.pool.give_back(kept)
    leaf = lent.link.facts.certificates.leaf
    pinned = await borrowed(rig, trust=Pinned(frozenset({fingerprint(leaf)})))
    assert not kept.link.reusable
    await rig.pool.give_back(lent)
    assert not lent.link.reusable
    await rig.pool.give_back(pinned)
    assert rig.pool.idle == 1


async def test_the_memory_of_views_is_bounded() -> None:
    rig = ClientRig(limits=Limits(cache_entries=3))
    names = [f"s{number}.example" for number in range(6)]
    with_peers(rig, *names)
    for name in names:
        await rig.request(name=name)
    assert len(rig.pool._views) == 3


@pytest.mark.req("SEED-20")
async def test_a_certificate_is_presented_only_to_names_that_are_configured() -> None:
    rig = ClientRig(TrustRule(names=(NAME,), present=True))
    ours = rig.world.certificate("us.example", flaw=Flaw.CLIENT_ONLY)
    rig.world.wire.client_certificate = ours
    for server in with_peers(rig, NAME, "other.example"):
        server.host.asks_client = True
    answer = await rig.request()
    assert rig.world.wire.requests[-1].presented == ours.leaf
    assert answer.trail.of("dial")[-1].evidence["offered"] is True
    await rig.request(name="other.example")
    assert rig.world.wire.requests[-1].presented == b""
