"""Worlds in which anything may be wrong at once: what always holds.

Whatever strangers do, connecting ends in a judged connection or in one
documented error, within the time limit, with a trail that can be saved; nothing
is left running, no inner address is reached, and nothing but the request for
the well-known file has been sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

import msgspec
import pytest

from ranvier.errors import Unreachable
from ranvier.limits import Limits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.names import ServerName
from ranvier.protocol.records import RecordKind
from ranvier.protocol.routes import Mode
from ranvier.protocol.trust import WebPki
from ranvier.services.connector import Connector
from ranvier.services.resolver import Resolver
from ranvier.trail import Recorder
from ranvier.world import DnsSays, Fault, Flaw, World
from ranvier.world.certs import Credential

PORTS = (0, 98, 98, 8448, 8448)
HOSTS = ("example.org", "m.test", "one.test", "two.test")
TARGETS = (*HOSTS, *HOSTS, ".", "10.0.0.1")
IPS = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "127.0.0.1", "::1")
NAMES = ("example.org", "m.test", "example.org:8448", "10.0.0.2", "[fd00::1]:443", "127.1")
BODIES = (
    b'{"m.server":"m.test"}',
    b'{"m.server":"m.test:443"}',
    b'{"m.server":"127.0.0.1"}',
    b'{"m.server":"127.1"}',
    b'{"m.server":7}',
    b"\xff" * 60_000,
)
LOCATIONS = ("/x", "https://m.test/x", "http://m.test/", "https://[::1]/", "https://127.1/", "")
WELL_KNOWN = b"GET /.well-known/matrix/server "


class Chaos:
    """A world made by a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World(seed=seed, limits=Limits(total_seconds=30.0))
        self.certificates = [
            self.world.certificate("example.org", "m.test", "10.0.0.2"),
            self.world.certificate("one.test"),
            self.world.certificate("example.org", flaw=Flaw.EXPIRED),
            self.world.certificate("m.test", flaw=Flaw.SELF_SIGNED),
        ]
        for host in HOSTS:
            self.name(host)
        good = self.certificates[:1] * 8
        for ip in IPS:
            for port in (443, 8448, 98):
                self.place(ip, port, self.chance.choice(self.certificates * 2 + good))

    def name(self, host: str) -> None:
        chance, dns = self.chance, self.world.dns
        dns.set(host, *chance.sample(IPS, chance.choice((0, 2, 3, 5))))
        self.trouble(host, chance.choice([RecordKind.A, RecordKind.AAAA, None]))
        for prefix in ("_matrix-fed._tcp.", "_matrix._tcp."):
            records = [
                (chance.randrange(2), chance.randrange(3), chance.choice(PORTS), target)
                for target in chance.sample(TARGETS, chance.choice((0, 0, 1, 3)))
            ]
            dns.set(prefix + host, *records)
            self.trouble(prefix + host, RecordKind.SRV)

    def trouble(self, name: str, kind: RecordKind | None) -> None:
        if self.chance.random() < 0.1:
            self.world.dns.says(name, self.chance.choice(list(DnsSays)), kind)
        if self.chance.random() < 0.15:
            self.world.dns.delays(name, self.chance.random() * 12, kind)

    def place(self, ip: str, port: int, certificate: Credential) -> None:
        chance = self.chance
        if chance.random() < 0.1:
            return
        host = self.world.host(ip, port, certificate=certificate, serves=self.serve)
        host.fault = chance.choice(list(Fault)) if chance.random() < 0.25 else None
        host.connect_seconds = chance.choice((0.0, 0.0, 0.1, 0.3, 11.0))
        host.handshake_seconds = chance.choice((0.0, 0.1, 0.3))
        host.loss = chance.choice((0.0, 0.3))

    async def serve(self, _request: HttpRequest) -> HttpResponse:
        chance = self.chance
        if chance.random() < 0.2:
            headers = (("location", chance.choice(LOCATIONS)),)
            return HttpResponse(status=302, headers=headers)
        return HttpResponse(status=chance.choice((200, 200, 404, 503)), body=chance.choice(BODIES))


@pytest.mark.req("SEC-05", "SEC-06", "SEC-07", "DISC-09", "TLS-09")
@pytest.mark.parametrize("seed", range(60))
async def test_every_attempt_ends_well_or_in_one_error_and_leaves_nothing_behind(
    seed: int,
) -> None:
    chaos, running = Chaos(seed), asyncio.all_tasks()
    world = chaos.world
    resolver = Resolver(world.dns, world.wire, world.clock, world.limits)
    connector = Connector(resolver, world.wire, world.clock, world.limits)
    good = [each.certificates for each in chaos.certificates[:2]]
    for _ in range(4):
        name = ServerName(chaos.chance.choice(NAMES))
        mode = chaos.chance.choice(list(Mode))
        recorder, began = Recorder(world.clock.tick), world.clock.tick()
        with contextlib.suppress(Unreachable):
            connection = await connector.connect(name, trust=WebPki(), mode=mode, recorder=recorder)
            assert connection.route in connection.discovery.routes
            assert connection.link.facts.certificates in good
            await connection.link.close()
        assert world.clock.tick() - began <= 30.0
        json.loads(msgspec.json.encode(recorder.trail))
        assert asyncio.all_tasks() == running
        world.clock.advance(chaos.chance.choice((0, 60, 4000, 200_000)))
    for request in world.wire.requests:
        assert request.raw.startswith((WELL_KNOWN, b"GET /x "))
    assert not [each for each in world.wire.attempts if each.address.ip in ("127.0.0.1", "::1")]


@pytest.mark.req("SEC-06")
@pytest.mark.parametrize("seed", range(30))
async def test_whoever_leaves_at_any_moment_leaves_nothing_running(seed: int) -> None:
    chaos, running = Chaos(seed), asyncio.all_tasks()
    world = chaos.world
    resolver = Resolver(world.dns, world.wire, world.clock, world.limits)
    connector = Connector(resolver, world.wire, world.clock, world.limits)
    for _ in range(6):
        callers = [
            asyncio.ensure_future(connector.connect(ServerName(name), trust=WebPki()))
            for name in chaos.chance.choices(NAMES, k=3)
        ]
        for caller in callers:
            await world.clock.sleep(chaos.chance.choice((0.0, 0.1, 0.4, 3.0)))
            caller.cancel()
        ends = await asyncio.gather(*callers, return_exceptions=True)
        for end in ends:
            if not isinstance(end, BaseException):
                await end.link.close()
            else:
                assert isinstance(end, Unreachable | asyncio.CancelledError)
        assert asyncio.all_tasks() == running
