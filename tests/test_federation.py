"""The library as its users hold it, over the in-memory edges."""

from __future__ import annotations

import inspect
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

import ranvier
from ranvier import (
    Address,
    BadConfiguration,
    Config,
    Discovery,
    Edges,
    Federation,
    InboundRequest,
    KeyFetch,
    KeyOutcome,
    KeyVerdict,
    Limits,
    Located,
    Malformed,
    Mode,
    Outcome,
    Peer,
    PeerFault,
    QueueFull,
    Resolution,
    Route,
    ServerName,
    ServerVersion,
    Step,
    TimedOut,
    Trail,
    TrustMode,
    Unreachable,
)
from ranvier.config import Listen, Outgoing
from ranvier.net.clock import SystemClock
from ranvier.plugs import HttpResponse
from ranvier.protocol.edus import UnknownEdu
from ranvier.protocol.records import RecordKind
from ranvier.publishing import open_identity
from ranvier.queue import Queue
from ranvier.world.server import VERSION
from ranvier.world.world import World


def over(world: World, **more: Any) -> Federation:
    edges = Edges(clock=world.clock, dns=world.dns, wire=world.wire, store=world.store)
    return Federation(edges=edges, **more)


async def test_one_open_federation_finds_fetches_and_asks() -> None:
    world = World()
    server = world.server("peer.example", ip="10.0.0.1")
    async with over(world) as fed:
        resolution = await fed.resolve("peer.example")
        assert resolution.discovery.routes[0].step == "6"
        located = await fed.locate(resolution.discovery.routes[0])
        assert [str(each) for each in located.addresses] == ["10.0.0.1:8448"]
        assert located.trail
        fetched = await fed.fetch_keys(ServerName("peer.example"))
        assert fetched.outcomes[0].key == server.keys[0].verify_key
        version = await fed.version("peer.example")
        assert version.name
        assert version.trail.of("version")


async def test_addresses_that_do_not_come_in_time_are_not_waited_for() -> None:
    world = World()
    world.dns.address("peer.example", "10.0.0.1")
    world.dns.delays("peer.example", 1000, RecordKind.AAAA)
    async with over(world, config=Config(outgoing=Outgoing(timeout=2.0))) as fed:
        [route] = (await fed.resolve("peer.example:8448")).discovery.routes
        began = world.clock.tick()
        located = await fed.locate(route)
        assert world.clock.tick() - began == pytest.approx(2.0)
        assert [str(each) for each in located.addresses] == ["10.0.0.1:8448"]
        assert [step.code for step in located.trail.steps if step.code] == ["given-up"]


async def test_a_version_that_does_not_come_in_time_is_not_waited_for() -> None:
    world = World()
    world.server("peer.example").host.answer_seconds = 1000
    async with over(world, config=Config(outgoing=Outgoing(timeout=2.0))) as fed:
        with pytest.raises(TimedOut) as caught:
            await fed.version("peer.example")
    assert caught.value.code == "version-timeout"
    assert caught.value.trail.of("version")[0].code


def test_the_front_door_has_everything_that_its_methods_give_and_raise() -> None:
    """So that a strictly typed program needs no other import (every name here is one)."""
    gives = (Resolution, Located, KeyFetch, ServerVersion, Discovery, Route, Address)
    inside = (Trail, Step, Outcome, KeyOutcome, KeyVerdict, Mode, TrustMode, Peer)
    front = [getattr(ranvier, name) for name in ranvier.__all__]
    assert all(each in front for each in (*gives, *inside, Limits, InboundRequest))
    assert list(ranvier.__all__) == sorted(ranvier.__all__)
    texts = [
        inspect.getdoc(each) or ""
        for of in (Federation, Queue)
        for name, each in inspect.getmembers(of)
        if not name.startswith("_")
    ]
    raises = {name for text in texts for name in re.findall(r"\w+", text.partition("Raises:")[2])}
    errors = {each.__name__ for each in vars(ranvier.errors).values() if isinstance(each, type)}
    assert raises & errors > {"TimedOut", "ConnectionLost", "Rejected", "BackingOff", "QueueFull"}
    assert raises & errors <= set(ranvier.__all__)


async def test_key_file_and_store_may_be_given_without_a_configuration(tmp_path: Path) -> None:
    key_file, database = tmp_path / "own.key", tmp_path / "own.db"
    behind_a_proxy = Config(listen=Listen(tls=False))
    fed = Federation(
        "example.org", config=behind_a_proxy, signing_key=key_file, store=f"sqlite:{database}"
    )
    assert not key_file.exists()
    async with fed:
        assert str(fed.identity.server_name) == "example.org"
    assert key_file.read_text().startswith(fed.identity.request_key.key_id.replace(":", " "))
    assert database.exists()


async def test_every_step_reaches_the_sink_as_it_ends() -> None:
    world = World()
    world.server("peer.example", ip="10.0.0.1")
    seen: list[Step] = []
    async with over(world, sink=seen.append) as fed:
        fetched = await fed.fetch_keys("peer.example")
    assert {step.what for step in seen} >= {"well-known", "srv", "dial", "key-fetch"}
    assert sorted(seen, key=_begun) == sorted(fetched.trail.steps, key=_begun)


def _begun(step: Step) -> tuple[float, str, str]:
    return step.started, step.what, step.question


@pytest.mark.req("VER-03")
@pytest.mark.parametrize(
    ("body", "name", "version"),
    [
        (b'{"server":{"name":"Other","version":"1"}}', "Other", "1"),
        (b'{"server":{"name":"Other"}}', "Other", ""),
        (b'{"server":{"name":5,"version":null,"x":1}}', "", ""),
        (b'{"server":[]}', "", ""),
        (b"{}", "", ""),
    ],
)
async def test_a_version_answer_may_miss_anything(body: bytes, name: str, version: str) -> None:
    world = World()
    world.server("peer.example", ip="10.0.0.1").answers[VERSION] = body
    async with over(world) as fed:
        said = await fed.version("peer.example")
    assert (said.name, said.version) == (name, version)


@pytest.mark.req("UNS-04", "API-09")
@pytest.mark.parametrize(
    ("response", "code"),
    [
        (HttpResponse(status=404, body=b'{"errcode":"M_UNRECOGNIZED"}'), "answer-unsupported"),
        (HttpResponse(status=405, body=b'{"errcode":"M_UNRECOGNIZED"}'), "answer-unsupported"),
        (HttpResponse(status=400, body=b'{"errcode":"M_UNRECOGNIZED"}'), "answer-unsupported"),
        (HttpResponse(status=404, body=b"<html>"), "answer-unsupported"),
        (HttpResponse(status=404, body=b'{"errcode":5}'), "answer-unsupported"),
        (HttpResponse(status=404, body=b'{"errcode":"M_NOT_FOUND"}'), "answer-not-found"),
        (HttpResponse(status=500, body=b'{"errcode":"M_UNKNOWN"}'), "answer-status"),
        (
            HttpResponse(status=302, headers=(("location", "https://10.0.0.9/"),)),
            "answer-redirect",
        ),
        (HttpResponse(status=200, body=b"<html>"), "json-not-json"),
    ],
)
async def test_what_is_no_version_answer_is_said_so(response: HttpResponse, code: str) -> None:
    world = World()
    world.server("peer.example", ip="10.0.0.1").answers[VERSION] = response
    async with over(world) as fed:
        with pytest.raises(PeerFault) as caught:
            await fed.version("peer.example")
    assert caught.value.code == code
    assert caught.value.trail.of("version")
    assert not [each for each in world.wire.attempts if each.address.ip == "10.0.0.9"]


async def test_a_server_that_is_not_there_carries_every_attempt() -> None:
    world = World()
    world.dns.address("peer.example", "10.0.0.1", "10.0.0.2")
    async with over(world) as fed:
        with pytest.raises(Unreachable) as caught:
            await fed.version("peer.example")
    assert len(caught.value.trail.of("dial")) == 2


@pytest.mark.req("NAME-10", "ERR14-03")
async def test_the_grammar_of_2014_counts_for_who_asks_or_is_listed_so() -> None:
    world = World()
    world.dns.address("peer.example", "10.0.0.1")
    async with over(world) as fed:
        with pytest.raises(Malformed):
            await fed.resolve("peer.example:")
        seed = await fed.resolve("peer.example:", mode=Mode.SEED)
        assert seed.discovery.mode is Mode.SEED
        assert (await fed.resolve("peer.example")).discovery.mode is Mode.CURRENT
    listed = Config(peers=(Peer(names=("old_peer.example",), mode=Mode.SEED),))
    async with over(world, config=listed, delivering=False) as fed:
        assert (await fed.resolve("old_peer.example")).discovery.mode is Mode.SEED
        assert (await fed.resolve("peer.example")).discovery.mode is Mode.CURRENT


async def test_listed_names_live_under_the_rule_of_2014_and_no_other() -> None:
    world = World()
    world.server("old.example", ip="10.0.0.1")
    world.server("new.example", ip="10.0.0.2")
    peer = Peer(names=("old.example",), trust=TrustMode.PUBLISHED_CERTIFICATE)
    async with over(world, config=Config(peers=(peer,))) as fed:
        assert (await fed.fetch_keys("old.example")).version == "v1"
        assert (await fed.fetch_keys("new.example")).version == "v2"
        assert (await fed.version("old.example")).name
    trusted = {(each.address.ip, each.trusted) for each in world.wire.attempts if each.requests}
    assert trusted == {
        ("10.0.0.1", "first-contact"),
        ("10.0.0.1", "pinned"),
        ("10.0.0.2", "web-pki"),
    }


async def test_a_federation_that_is_not_open_says_how_to_open_it() -> None:
    with pytest.raises(BadConfiguration) as caught:
        await Federation().resolve("peer.example")
    assert "async with" in str(caught.value)


def test_making_a_federation_does_no_input_or_output(tmp_path: Path) -> None:
    Federation("example.org", store=tmp_path / "sub" / "x.db", config=Config(data=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"server_name": "exa_mple.org"}, "name-dns"),
        ({"dns": ("dns.example",)}, "address-ip"),
        ({"config": Config(outgoing=Outgoing(timeout=-1))}, "config-timeout"),
        ({"config": Config(listen=Listen(port=99999))}, "config-port"),
        ({"config": Config(peers=(Peer(),))}, "config-peer-empty"),
        (
            {"config": Config(peers=(Peer(names=("a",), certificate_sha256=("x",)),))},
            "config-fingerprint",
        ),
        ({"config": Config(peers=(Peer(networks=("10.0.0.1/8",)),))}, "config-network"),
    ],
)
def test_a_wrong_call_fails_at_once(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises((BadConfiguration, Malformed)) as caught:
        Federation(**arguments)
    assert caught.value.code == code


async def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfiguration) as caught:
        async with Federation(store=tmp_path / "file" / "x.db"):
            pass
    assert caught.value.code == "data-folder"


async def _get(fed: Federation, path: str) -> tuple[int, Any]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "root_path": ""}
    await fed.asgi(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.req("KEY2-01", "VER-01")
async def test_the_published_side_can_be_mounted_anywhere(tmp_path: Path) -> None:
    config = Config(server_name="example.org", data=str(tmp_path))
    fed = Federation(config=config)
    async with fed.lifespan(object()):
        status, document = await _get(fed, "/_matrix/key/v2/server")
        assert (status, document["server_name"]) == (200, "example.org")
        status, version = await _get(fed, "/_matrix/federation/v1/version")
        assert (status, version["server"]["name"]) == (200, "Ranvier")


async def test_it_listens_and_can_be_asked_by_another(tmp_path: Path) -> None:
    config = Config(
        server_name="127.0.0.1:1", data=str(tmp_path), listen=Listen(host="127.0.0.1", port=0)
    )
    ours = Federation(config=config, serving=True)
    async with ours, ours.listening() as address:
        name = f"127.0.0.1:{address.port}"
        asker = Federation(ca_file=tmp_path / "tls.crt", allow_private=True)
        async with asker:
            assert (await asker.version(name)).name == "Ranvier"
            with pytest.raises(PeerFault) as caught:
                await asker.fetch_keys(name)
    assert caught.value.code == "key-name-matches"


@pytest.mark.req("SEC-05", "D28")
async def test_our_own_listener_may_be_asked_by_its_exact_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    name = f"127.0.0.1:{port}"
    config = Config(
        server_name=name,
        data=str(tmp_path),
        listen=Listen(port=port),
        outgoing=Outgoing(ca_file=str(tmp_path / "tls.crt")),
    )
    open_identity(config, SystemClock())
    async with Federation(config=config, serving=True) as ours, ours.listening():
        assert (await ours.fetch_keys(name)).outcomes[0].good
        async with Federation(config=config) as other:
            with pytest.raises(Unreachable) as caught:
                await other.fetch_keys(name)
    assert caught.value.trail.of("dial")[0].code == "address-refused"


async def test_the_limits_that_are_given_hold_in_the_store_too(tmp_path: Path) -> None:
    limits = Limits(outbox_lane_items=1)
    path = tmp_path / "ranvier.db"
    async with Federation("a.test", store=path, delivering=False, limits=limits) as fed:
        edus = [UnknownEdu(edu_type="x", content={})]
        await fed.send(["b.test"], edus=edus)
        with pytest.raises(QueueFull) as caught:
            await fed.send(["b.test"], edus=edus)
    assert caught.value.code == "queue-full-destination"
