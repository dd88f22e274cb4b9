"""Two federations on real sockets: requests, queries and transactions, there and back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ranvier import Config, Federation, Rejected, ServerName
from ranvier.config import Listen, Outgoing
from ranvier.net.clock import SystemClock
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.edus import Edu, Typing, UnknownEdu
from ranvier.protocol.events import ParsedPdu, sign_event
from ranvier.protocol.room_versions import room_version
from ranvier.protocol.transactions import ItemVerdict
from ranvier.publishing import open_identity
from ranvier.services.delivery import Delivery
from ranvier.services.hooks import Effects, Query, Reply, TryAgain

PROFILE = "/_matrix/federation/v1/query/profile?user_id=%40a%3A"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def two_configs(folder: Path) -> tuple[Config, Config]:
    """Two servers on loopback that believe each other's certificates."""
    configs = []
    for name, host in (("a", "localhost"), ("b", "127.0.0.1")):
        port = free_port()
        config = Config(
            server_name=f"{host}:{port}", data=str(folder / name), listen=Listen(port=port)
        )
        (folder / name).mkdir()
        open_identity(config, SystemClock())
        configs.append(config)
    believed = folder / "both.pem"
    believed.write_text("".join(each.path("tls.crt").read_text() for each in configs))
    outgoing = Outgoing(ca_file=str(believed), allow_private=True)
    first, second = (msgspec.structs.replace(each, outgoing=outgoing) for each in configs)
    return first, second


@asynccontextmanager
async def open_server(config: Config) -> AsyncIterator[Federation]:
    federation = Federation(config=config, store=config.path("ranvier.db"), serving=True)
    async with federation, federation.listening():
        yield federation


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Federation, Federation]]:
    first, second = two_configs(tmp_path)
    async with open_server(first) as a, open_server(second) as b:
        yield a, b


def name_of(federation: Federation) -> str:
    return federation.config.server_name


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


Pair = tuple[Federation, Federation]


@pytest.mark.req("D14-02")
async def test_a_query_is_signed_authenticated_and_answered(pair: Pair) -> None:
    a, b = pair

    @b.on_query("profile")
    async def profile(query: Query) -> JsonObject:
        return {"displayname": query.arguments["user_id"], "asked_by": query.origin.text}

    answer = await a.get(name_of(b), PROFILE + name_of(b))
    assert answer.json == {"displayname": f"@a:{name_of(b)}", "asked_by": name_of(a)}
    assert answer.step == "1"
    assert [each.what for each in answer.trail.steps][-1] == "request"


@pytest.mark.req("AUTH-01", "UNS-01", "UNS-02")
async def test_who_does_not_sign_gets_no_answer_and_an_unknown_query_is_unknown(pair: Pair) -> None:
    a, b = pair

    @b.on_query("profile")
    async def profile(query: Query) -> JsonObject:
        raise Reply(404, "M_NOT_FOUND", "nobody of that name")

    with pytest.raises(Rejected) as unsigned:
        await a.get(name_of(b), PROFILE + name_of(b), signed=False)
    assert (unsigned.value.status, unsigned.value.errcode) == (401, "M_UNAUTHORIZED")
    with pytest.raises(Rejected) as unknown:
        await a.get(name_of(b), "/_matrix/federation/v1/query/nothing")
    assert (unknown.value.code, unknown.value.status) == ("answer-unsupported", 404)
    with pytest.raises(Rejected) as nobody:
        await a.get(name_of(b), PROFILE + name_of(b))
    assert (nobody.value.code, nobody.value.errcode) == ("answer-not-found", "M_NOT_FOUND")
    with pytest.raises(Rejected) as method:
        await a.put(name_of(b), PROFILE + name_of(b))
    assert method.value.status == 405


@pytest.mark.req("TXN-01", "TXN-05", "TXN-06", "TXN-17", "D14-02")
async def test_an_edu_is_sent_once_and_handled_once(pair: Pair) -> None:
    a, b = pair
    came: list[tuple[Edu, ServerName]] = []
    told: list[Delivery] = []

    @b.on_edu("m.typing")
    async def typing(edu: Edu, origin: ServerName) -> None:
        came.append((edu, origin))

    @a.on_sent
    async def sent(delivery: Delivery) -> None:
        told.append(delivery)

    edu = Typing(room_id="!r:x", user_id=f"@u:{name_of(a)}", typing=True)
    unknown = UnknownEdu(edu_type="org.example.new", content={"a": 1})
    await a.send([name_of(b), name_of(a)], edus=[unknown, edu])
    await until(lambda: told)
    [(got, origin)] = came
    assert isinstance(got, Typing)
    assert (got.user_id, origin.text) == (edu.user_id, name_of(a))
    assert await a.queue.lanes() == ()


def event(a: Federation, room: str, n: int) -> JsonObject:
    made = {
        "type": "m.room.message",
        "room_id": room,
        "sender": f"@u:{name_of(a)}",
        "origin_server_ts": 1_700_000_000_000 + n,
        "depth": 1,
        "auth_events": [],
        "prev_events": [],
        "content": {"n": n},
    }
    return sign_event(made, room_version("11"), name_of(a), a.identity.request_key)


@pytest.mark.req("TXN-05", "TXN-07", "TXN-16", "D14-02")
async def test_each_pdu_has_its_own_result(pair: Pair) -> None:
    a, b = pair
    came: list[ParsedPdu] = []
    told: list[Delivery] = []

    for each in pair:

        @each.room_version
        async def version(room_id: str) -> str | None:
            return "11" if room_id != "!unknown:x" else None

    @b.on_pdu
    async def taken(pdu: ParsedPdu, origin: ServerName) -> None:
        came.append(pdu)

    @a.on_sent
    async def sent(delivery: Delivery) -> None:
        told.append(delivery)

    good, forged = event(a, "!r:x", 1), event(a, "!r:x", 2)
    forged["origin_server_ts"] += 1
    await a.send([name_of(b)], pdus=[good, forged, event(a, "!unknown:x", 3)])
    await until(lambda: told)
    [pdu] = came
    assert (pdu.value["content"], pdu.redacted) == ({"n": 1}, False)
    results = told[0].results
    assert results[pdu.event_id].verdict is ItemVerdict.ACCEPTED
    verdicts = sorted(each.verdict for each in results.values())
    assert verdicts == sorted([ItemVerdict.ACCEPTED, ItemVerdict.ERROR])


@pytest.mark.req("D34")
async def test_what_a_handler_writes_by_its_effects_is_there_with_the_answer(pair: Pair) -> None:
    a, b = pair
    tries: list[str] = []

    @b.on_edu()
    async def all_of_them(edu: Edu, origin: ServerName, effects: Effects) -> None:
        tries.append(effects.key)
        effects.write("seen", edu.content["n"], b"yes")
        if len(tries) == 1:
            raise TryAgain

    await a.send([name_of(b)], edus=[UnknownEdu(edu_type="x", content={"n": "1"})])
    await until(lambda: len(tries) == 2)
    store = b._open().store
    async with asyncio.timeout(10):
        while await store.notes.read("seen", "1") is None:
            await asyncio.sleep(0.01)
    assert tries[0] == tries[1]


async def test_what_waits_survives_both_ends(tmp_path: Path) -> None:
    first, second = two_configs(tmp_path)
    async with open_server(first) as a:
        await a.send([second.server_name], edus=[UnknownEdu(edu_type="x", content={"n": 1})])
        await asyncio.sleep(0.3)
        [lane] = await a.queue.lanes()
        assert lane.failures >= 1
        assert "connect" in lane.because
    async with open_server(second) as b:
        came: list[Edu] = []

        @b.on_edu()
        async def taken(edu: Edu, origin: ServerName) -> None:
            came.append(edu)

        async with open_server(first) as a:
            await b.get(first.server_name, "/_matrix/federation/v1/version")
            assert came == []
            with pytest.raises(Rejected):  # a signed request of theirs: they are alive
                await b.put(first.server_name, "/_matrix/federation/v1/send/1", {})
            await until(lambda: came)
            async with asyncio.timeout(10):
                while await a.queue.lanes():
                    await asyncio.sleep(0.01)


async def test_a_peer_that_keeps_its_connection_does_not_hold_up_our_end(tmp_path: Path) -> None:
    first, second = two_configs(tmp_path)
    async with open_server(first) as a:
        async with open_server(second):
            await a.get(second.server_name, "/_matrix/federation/v1/version")
            stopping = asyncio.timeout(8)  # a whole grace time is 10 s
            await stopping.__aenter__()
        await stopping.__aexit__(None, None, None)
