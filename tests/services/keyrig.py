"""A world with one server whose key documents a test can spoil, and a keyring that asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ranvier.limits import DAY_MS, Limits, Ms
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.keys import build_v1_document, build_v2_document
from ranvier.protocol.names import ServerName, parse_server_name
from ranvier.protocol.routes import Mode
from ranvier.protocol.signing import SigningKey, generate_signing_key, sign_json
from ranvier.services.connector import Connector
from ranvier.services.keyring import Keyring
from ranvier.services.resolver import Resolver
from ranvier.services.trust import TrustBook, TrustMode, TrustRule
from ranvier.world.certs import Credential, Flaw
from ranvier.world.world import World

NAME = "peer.example"
IP = "10.0.0.1"
KEY = generate_signing_key(b"k" * 32, "a_peer")
OTHER_KEY = generate_signing_key(b"o" * 32, "a_other")
SEED_RULE = TrustRule(names=(NAME,), trust=TrustMode.PUBLISHED_CERTIFICATE, mode=Mode.SEED)

Spoil = Callable[[dict[str, Any]], dict[str, Any]]


class Peer:
    """The server ``peer.example`` on 8448: what it shows and says can be changed at any time."""

    def __init__(self, world: World, *, seed: bool = False) -> None:
        self.world = world
        self.keys: tuple[SigningKey, ...] = (KEY,)
        self.certificate: Credential = world.certificate(
            NAME, flaw=Flaw.SELF_SIGNED if seed else None
        )
        self.named: bytes | None = None
        """The certificate that the version 1 document names, if not the one shown."""
        self.body: bytes | None = None
        self.status = 200
        self.life_ms = DAY_MS
        self.asked: list[str] = []
        world.dns.address(NAME, IP)
        self.show(self.certificate)

    def show(self, certificate: Credential) -> None:
        """Show another certificate from now on."""
        self.certificate = certificate
        self.world.host(IP, 8448, certificate=certificate, serves=self._serve)

    def self_signed(self) -> Credential:
        """A new self-signed certificate."""
        return self.world.certificate(NAME, flaw=Flaw.SELF_SIGNED)

    async def _serve(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request.target)
        return HttpResponse(status=self.status, body=self.document(request.target))

    def document(self, target: str) -> bytes:
        if self.body is not None:
            return self.body
        if target == "/_matrix/key/v1":
            return self.v1()
        return build_v2_document(
            NAME, self.keys, valid_until=Ms(self.world.clock.now() + self.life_ms)
        )

    def v1(self) -> bytes:
        """The version 1 document as it should be."""
        leaf = self.certificate.leaf if self.named is None else self.named
        return build_v1_document(NAME, self.keys, tls_certificate=leaf)


def resigned(document: bytes, change: Spoil, *keys: SigningKey, name: str = NAME) -> bytes:
    """A document changed and then signed again, so that only the change is wrong."""
    content = change({k: v for k, v in msgspec.json.decode(document).items() if k != "signatures"})
    for key in keys:
        content = sign_json(content, name, key)
    return msgspec.json.encode(content)


def keyring(world: World, *rules: TrustRule, limits: Limits | None = None) -> Keyring:
    """A keyring that asks this world."""
    limits = limits or world.limits
    resolver = Resolver(world.dns, world.wire, world.clock, limits)
    connector = Connector(resolver, world.wire, world.clock, limits)
    return Keyring(connector, world.store, world.clock, limits, TrustBook(rules))


def name() -> ServerName:
    """The peer's name."""
    return parse_server_name(NAME)
