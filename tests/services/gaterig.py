"""A gate in a world with one peer, and requests that the peer signs as told."""

from __future__ import annotations

from typing import Any

from ranvier.errors import Unauthenticated
from ranvier.limits import Limits
from ranvier.protocol.requests import sign_request
from ranvier.protocol.signing import SigningKey
from ranvier.services.bodies import BodyWork
from ranvier.services.gate import Authenticated, Gate, InboundRequest
from ranvier.services.trust import TrustRule
from ranvier.trail import Recorder
from ranvier.world.world import World
from tests.services.keyrig import KEY, NAME, Peer, keyring

US = "us.example"
ALIAS = "other-name-of-us.example"
TARGET = "/_matrix/federation/v1/query/profile?user_id=%40a%3Aus.example"


class Rig:
    """``ask`` signs and hands in a request; keyword arguments say what is odd about it."""

    def __init__(self, *rules: TrustRule, limits: Limits | None = None, seed: bool = False) -> None:
        self.world = World()
        self.peer = Peer(self.world, seed=seed)
        self.limits = limits or self.world.limits
        self.heard: list[str] = []
        self.ring = keyring(self.world, *rules, limits=limits)
        self.gate = Gate(
            self.ring,
            (US, ALIAS),
            clock=self.world.clock,
            limits=self.limits,
            body_work=BodyWork(self.world.clock, self.limits),
            heard=self.heard.append,
        )

    async def ask(self, **odd: Any) -> Authenticated:
        return await self.gate.authenticate(request(**odd))

    async def refused(self, **odd: Any) -> Unauthenticated:
        """The refusal; anything else fails the test."""
        try:
            passed = await self.ask(**odd)
        except Unauthenticated as refusal:
            return refusal
        raise AssertionError(f"it was let in: {passed}")

    def recorder(self) -> Recorder:
        return Recorder(self.world.clock.tick)

    @property
    def fetches(self) -> int:
        """How often the peer was asked for its keys."""
        return len(self.peer.asked)


def signed(
    *,
    method: str = "GET",
    target: str = TARGET,
    origin: str = NAME,
    destination: str = US,
    content: bytes | None = None,
    key: SigningKey = KEY,
) -> str:
    """The header of a request."""
    return sign_request(
        method=method,
        target=target,
        origin=origin,
        destination=destination,
        content=content,
        key=key,
    )


def request(
    *,
    authorization: tuple[str, ...] | None = None,
    targets: tuple[str, ...] | None = None,
    body: bytes = b"",
    sent: bytes | None = None,
    client: str = "203.0.113.9",
    leaf: bytes | None = None,
    method: str = "GET",
    sent_method: str | None = None,
    **signing: Any,
) -> InboundRequest:
    """A request that is signed as it is; ``sent...`` and ``targets`` come instead."""
    content = body or None
    header = signed(method=method, content=content, **signing)
    return InboundRequest(
        method=sent_method or method,
        targets=targets or (signing.get("target", TARGET),),
        authorization=(header,) if authorization is None else authorization,
        body=body if sent is None else sent,
        client=client,
        client_leaf=leaf,
    )
