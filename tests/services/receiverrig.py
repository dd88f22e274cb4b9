"""A receiver in a world with one peer, and transactions that hold what a test says."""

from __future__ import annotations

import json
from typing import Any

from ranvier.deeds import Inbox
from ranvier.limits import Limits
from ranvier.protocol.canonical import JsonObject, encode_canonical
from ranvier.protocol.edus import Edu
from ranvier.protocol.events import ParsedPdu, sign_event
from ranvier.protocol.names import ServerName, parse_server_name
from ranvier.protocol.room_versions import room_version
from ranvier.protocol.signing import SigningKey
from ranvier.services.bodies import BodyWork
from ranvier.services.gate import Authenticated
from ranvier.services.hooks import Called, Effects, Hooks
from ranvier.services.inspector import Inspector
from ranvier.services.receiver import Receiver
from ranvier.world.world import World
from tests.services.keyrig import KEY, NAME, Peer, keyring

US = "us.example"
ROOM = "!r:peer.example"
UNKNOWN_ROOM = "!unknown:peer.example"


class Rig:
    """Every room but one is known, with ``version``; what handlers get is kept."""

    def __init__(
        self, *, limits: Limits | None = None, inbox: Inbox | None = None, version: str = "11"
    ) -> None:
        self.world = World()
        self.peer = Peer(self.world)
        self.limits = limits or self.world.limits
        self.version = version
        self.hooks = Hooks()
        self.hooks.room_version = self._version
        self.hooks.pdu = Called.of(self._pdu)
        self.hooks.edus["*"] = Called.of(self._edu)
        self.ring = keyring(self.world, limits=limits)
        self.inspector = Inspector(self.ring, self.hooks, self.limits, self.world.clock)
        self.receiver = Receiver(
            inbox or self.world.store.inbox,
            self.inspector,
            self.hooks,
            clock=self.world.clock,
            limits=self.limits,
            body_work=BodyWork(self.world.clock, self.limits),
        )
        self.pdus: list[ParsedPdu] = []
        self.edus: list[Edu] = []
        self.keys: list[str] = []

    async def _version(self, room_id: str) -> str | None:
        return None if room_id == UNKNOWN_ROOM else self.version

    async def _pdu(self, pdu: ParsedPdu, origin: ServerName, effects: Effects) -> None:
        self.pdus.append(pdu)
        self.keys.append(effects.key)

    async def _edu(self, edu: Edu, origin: ServerName, effects: Effects) -> None:
        self.edus.append(edu)
        self.keys.append(effects.key)

    @property
    def counts(self) -> dict[str, int]:
        return {key: count for key, count in self.receiver.counts.items() if count}

    async def receive(
        self, body: bytes, txn_id: str = "t1", *, origin: str = NAME, seed: bool = False
    ) -> Any:
        """The results by event id."""
        answer = await self.receiver.receive(authenticated(body, origin), txn_id, seed=seed)
        return json.loads(answer)["pdus"]

    def transaction(
        self,
        *,
        pdus: tuple[JsonObject | bytes, ...] = (),
        edus: tuple[JsonObject | bytes, ...] = (),
        origin: str = NAME,
        ago: float = 0.0,
    ) -> bytes:
        """A body dated ``ago`` seconds ago."""
        dated = self.world.clock.now() - round(ago * 1000)
        return b'{"edus":[%b],"origin":%b,"origin_server_ts":%d,"pdus":[%b]}' % (
            _spliced(edus),
            json.dumps(origin).encode(),
            dated,
            _spliced(pdus),
        )

    def event(
        self, n: int = 1, *, name: str = NAME, key: SigningKey = KEY, **changes: Any
    ) -> JsonObject:
        """A signed event of a user of ``name``; of a room version with ids in the event too."""
        version = room_version(self.version)
        made = {
            "type": "m.room.message",
            "room_id": ROOM,
            "sender": f"@u:{name}",
            "origin_server_ts": self.world.clock.now(),
            "depth": n,
            "auth_events": [],
            "prev_events": [],
            "content": {"n": n},
            **({"event_id": f"${n}:{name}"} if self.version in ("1", "2") else {}),
            **changes,
        }
        present = {key: value for key, value in made.items() if value is not None}
        return sign_event(present, version, name, key)


def _spliced(items: tuple[JsonObject | bytes, ...]) -> bytes:
    raw = (each if isinstance(each, bytes) else encode_canonical(each) for each in items)
    return b",".join(raw)


def authenticated(body: bytes, origin: str = NAME) -> Authenticated:
    """What the gate makes of a request with this body."""
    return Authenticated(
        origin=parse_server_name(origin),
        key_id=KEY.key_id,
        destination=US,
        method="PUT",
        target="/_matrix/federation/v1/send/t1",
        content=None,
        body=body,
        canonical=body,
    )


def edu(n: int = 1) -> JsonObject:
    """One of a type that nobody knows."""
    return {"edu_type": "org.example.n", "content": {"n": n}}


def typing(user: str = f"@u:{NAME}", room: str = ROOM) -> JsonObject:
    """Somebody types."""
    content = {"room_id": room, "user_id": user, "typing": True}
    return {"edu_type": "m.typing", "content": content}
