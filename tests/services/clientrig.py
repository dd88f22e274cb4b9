"""A world, and a client of ``us.example`` in it, with back-offs that can be looked at."""

from __future__ import annotations

from typing import Any

from ranvier.deeds import BackOff
from ranvier.limits import Limits, Ms
from ranvier.protocol.names import ServerName, parse_server_name
from ranvier.protocol.signing import SigningKey, generate_signing_key
from ranvier.services.client import Answer, Client
from ranvier.services.connector import Connector
from ranvier.services.identity import Identity
from ranvier.services.keyring import Keyring
from ranvier.services.pool import Pool
from ranvier.services.resolver import Resolver
from ranvier.services.trust import TrustBook, TrustRule
from ranvier.trail import Recorder
from ranvier.world import World

US = ServerName("us.example")
OUR_KEY: SigningKey = generate_signing_key(b"u" * 32, "a_us")
NAME = "peer.example"


class SeenBackOffs:
    """Holds off from nobody unless a test says so, and keeps what it is told."""

    def __init__(self) -> None:
        self.held: dict[str, BackOff] = {}
        self.told: list[tuple[str, str]] = []

    async def of(self, name: str) -> BackOff | None:
        return self.held.get(name)

    async def failed(self, name: str, because: str) -> None:
        self.told.append(("failed", name))

    async def reached(self, name: str) -> None:
        self.told.append(("reached", name))

    def hold(self, name: str) -> None:
        self.held[name] = BackOff(until=Ms(1), failures=1, because="it is tired", since=Ms(0))


class ClientRig:
    """The client and all its parts."""

    def __init__(self, *rules: TrustRule, limits: Limits | None = None, seed: int = 0) -> None:
        self.world = World(limits=limits, seed=seed)
        world = self.world
        self.limits = world.limits
        self.resolver = Resolver(world.dns, world.wire, world.clock, world.limits)
        self.connector = Connector(self.resolver, world.wire, world.clock, world.limits)
        self.pool = Pool(self.connector, world.clock, world.limits)
        self.keyring = Keyring(
            self.connector, world.store, world.clock, world.limits, TrustBook(rules)
        )
        self.identity = Identity(US, [OUR_KEY], clock=world.clock)
        self.back_offs = SeenBackOffs()
        self.client = Client(
            self.pool,
            self.keyring,
            lambda: self.identity,
            clock=world.clock,
            limits=world.limits,
            back_offs=self.back_offs,
        )
        self.recorder = Recorder(world.clock.tick)

    async def request(
        self, method: str = "GET", target: str = "/x", *, name: str = NAME, **more: Any
    ) -> Answer:
        self.recorder = Recorder(self.world.clock.tick)
        return await self.client.request(
            parse_server_name(name), method, target, recorder=self.recorder, **more
        )

    def connections(self) -> int:
        """How many have been made."""
        return sum(each.outcome == "ok" for each in self.world.wire.attempts)
