"""The client over real TCP and TLS: our own listener, keep-alive, a proxy, our certificate."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.protocol.addresses import AddressPolicy
from ranvier.protocol.names import ServerName
from ranvier.protocol.proxy import parse_proxy
from ranvier.protocol.records import DnsAnswer, RecordKind
from ranvier.services.client import Answer, Client, NoBackOffs
from ranvier.services.connector import Connector
from ranvier.services.identity import Identity
from ranvier.services.keyring import Keyring
from ranvier.services.pool import Pool
from ranvier.services.resolver import Resolver
from ranvier.services.trust import TrustBook, TrustRule
from ranvier.world import MemoryStore
from tests.rigs import certs
from tests.rigs.certs import Kind
from tests.rigs.listening import House, listening
from tests.rigs.proxy import ConnectProxy
from tests.services.clientrig import OUR_KEY, US


class NoDns:
    """Nobody is asked: the names in these tests are addresses."""

    async def ask(self, name: str, kind: RecordKind) -> DnsAnswer:
        raise AssertionError(f"{name} was looked up")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says what came."""
    size, more = 0, True
    while more:
        event = await receive()
        size, more = size + len(event["body"]), event.get("more_body", False)
    told = scope["extensions"]["ranvier"]
    said = {
        "target": told["raw_target"].decode(),
        "signed": any(key == b"authorization" for key, _ in scope["headers"]),
        "size": size,
        "leaf": (told.get("peer_leaf") or b"").hex(),
    }
    body = json.dumps(said).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Caller:
    """A client of one house."""

    def __init__(self, house: House, *rules: TrustRule, **wire: Any) -> None:
        limits, store = Limits(), MemoryStore()
        self.house, clock = house, SystemClock()
        policy = AddressPolicy(allow_private=True)
        self.wire = NetWire(clock, limits, policy, certs.authority().file, **wire)
        connector = Connector(Resolver(NoDns(), self.wire, clock, limits), self.wire, clock, limits)
        self.pool = Pool(connector, clock, limits)
        self.client = Client(
            self.pool,
            Keyring(connector, store, clock, limits, TrustBook(rules)),
            lambda: Identity(US, [OUR_KEY], clock=clock),
            clock=clock,
            limits=limits,
            back_offs=NoBackOffs(),
        )

    async def request(self, method: str = "GET", target: str = "/x", **more: Any) -> Answer:
        name = ServerName(str(self.house.address))
        return await self.client.request(name, method, target, **more)


@contextlib.asynccontextmanager
async def called(*rules: TrustRule, asking: bool = False, **wire: Any) -> AsyncIterator[Caller]:
    async with listening(echo, tls=True, asking=asking, files=certs.good("127.0.0.1")) as house:
        caller = Caller(house, *rules, **wire)
        yield caller
        await caller.pool.close_all()


def reused(answer: Answer) -> list[bool]:
    return [step.evidence.get("reused", False) for step in answer.trail.of("dial")]


@pytest.mark.req("AUTH-03")
async def test_requests_follow_each_other_over_one_connection() -> None:
    targets = ["/x", "/x?", "/%2F%3a//?a=+%20", "/"]
    async with called() as caller:
        for target in targets:
            answer = await caller.request("PUT", target, content={"a": 1})
            said = {"target": target, "signed": True, "size": 7, "leaf": ""}
            assert answer.json == said
        assert reused(answer) == [True]
        assert caller.pool.idle == 1


async def test_many_requests_at_once_do_not_mix() -> None:
    async with called() as caller:
        answers = await asyncio.gather(*(caller.request(target=f"/{n}") for n in range(60)))
        assert [answer.json["target"] for answer in answers] == [f"/{n}" for n in range(60)]
        assert caller.pool.idle == Limits().pool_per_route


async def test_a_connection_that_the_peer_closed_meanwhile_is_replaced() -> None:
    async with called() as caller:
        await caller.request()
        await caller.house.later(Limits().listen_idle_seconds + 1)
        assert reused(await caller.request()) == [False]


async def test_a_large_content_goes_out_whole() -> None:
    async with called() as caller:
        content = {"a": "x" * 5_000_000}
        answer = await caller.request("PUT", content=content)
        assert answer.json["size"] == 5_000_008


@pytest.mark.req("D26")
async def test_everything_goes_through_the_proxy_and_stays_open_there() -> None:
    with ConnectProxy() as proxy:
        through = parse_proxy(f"http://{proxy.address}")
        async with called(proxy=through) as caller:
            first, second = await caller.request(), await caller.request()
            assert first.trail.of("dial")[0].evidence["via"] == str(proxy.address)
            assert reused(second) == [True]
            assert proxy.targets == [str(caller.house.address)]


@pytest.mark.req("SEED-20", "SEED-21", "AUTH-29")
@pytest.mark.parametrize("present", [True, False])
async def test_our_certificate_is_seen_by_those_who_are_to_see_it(present: bool) -> None:
    ours = certs.certificate(Kind.SELF_SIGNED, "us.test")
    rule = TrustRule(networks=("127.0.0.0/8",), present=present)
    async with called(rule, asking=True, client_certificate=ours.files) as caller:
        answer = await caller.request()
        assert answer.json["leaf"] == (ours.leaf.hex() if present else "")
