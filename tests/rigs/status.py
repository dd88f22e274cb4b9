"""Our own server as it is, on a socket, and a peer whose requests can be wrong in any way."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from ranvier import Config, Federation
from ranvier.config import ClientCertificates, Listen, Outgoing, Peer
from ranvier.limits import DAY_MS, Limits, Ms
from ranvier.net.clock import SystemClock
from ranvier.net.listen import Asgi, Listener
from ranvier.net.tls_server import ServerTls
from ranvier.protocol.addresses import Address
from ranvier.protocol.canonical import JsonObject, encode_canonical
from ranvier.protocol.edus import Edu
from ranvier.protocol.keys import OldVerifyKey, build_v2_document
from ranvier.protocol.names import ServerName
from ranvier.protocol.requests import sign_request
from ranvier.protocol.signing import SigningKey, generate_signing_key
from ranvier.services.hooks import Query
from ranvier.services.trust import ClientCertificate
from tests.rigs import certs
from tests.rigs.listening import Caller, Reply

KEY = generate_signing_key(b"1" * 32, "a_now")
OLD = generate_signing_key(b"2" * 32, "a_old")
GONE = generate_signing_key(b"3" * 32, "a_gone")
STRANGE = generate_signing_key(b"4" * 32, "a_strange")
SEND = "/_matrix/federation/v1/send/"
PROFILE = "/_matrix/federation/v1/query/profile"
LIMITS = msgspec.structs.replace(Limits(), listen_body_bytes=200_000, transaction_bytes=100_000)


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def transaction(peer: str, /, **changes: Any) -> bytes:
    """One EDU, dated now; ``None`` leaves a member out."""
    body: JsonObject = {
        "origin": peer,
        "origin_server_ts": SystemClock().now(),
        "pdus": [],
        "edus": [{"edu_type": "x", "content": {}}],
    }
    body |= changes
    return encode_canonical({key: value for key, value in body.items() if value is not None})


class NothingReady:
    """A desk for a listener whose application answers everything."""

    def ready(self, target: bytes, leaf: bytes | None) -> bytes | None:
        return None

    def refusal(self, status: int, reason: str) -> bytes:
        return b"{}"


class Stage:
    """``us`` is the server under test, ``peer`` the name of who asks; ``handled`` by handlers."""

    def __init__(self, federation: Federation, address: Address, peer: str) -> None:
        self.federation = federation
        self.address = address
        self.us = federation.config.server_name
        self.peer = peer
        self.handled: list[object] = []
        self.document: Callable[[], bytes] = self.good_document
        self.client: ssl.SSLContext | None = None
        self.asked = 0

    def register(self) -> None:
        @self.federation.on_edu()
        async def edus(edu: Edu, origin: ServerName) -> None:
            self.handled.append(edu)

        @self.federation.on_query("profile")
        async def profile(query: Query) -> JsonObject:
            self.handled.append(query)
            return {}

    # --- The peer's keys ---

    def good_document(self, *keys: SigningKey, days: int = 1) -> bytes:
        now = SystemClock().now()
        return build_v2_document(
            self.peer,
            keys or (KEY,),
            valid_until=Ms(now + days * DAY_MS),
            old_keys=(OldVerifyKey(key=OLD.verify_key, expired_ts=Ms(now - DAY_MS)),),
        )

    async def keys(self, scope: Any, receive: Any, send: Any) -> None:
        """The peer's own server, as an application."""
        if scope["type"] == "http":
            self.asked += 1
            body = self.document()
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    # --- Its requests ---

    def header(
        self,
        method: str = "PUT",
        target: str = SEND + "1",
        content: bytes | None = None,
        *,
        key: SigningKey = KEY,
        origin: str = "",
        destination: str = "",
    ) -> str:
        """Signed as told, by default as it should be."""
        return sign_request(
            method=method,
            target=target,
            origin=origin or self.peer,
            destination=destination or self.us,
            content=content,
            key=key,
        )

    def raw(
        self, method: str, target: str, *headers: str, body: bytes = b"", chunked: bool = False
    ) -> bytes:
        """The bytes of a request; each of ``headers`` is the value of one ``Authorization``."""
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.us}", length]
        lines += [f"Authorization: {each}" for each in headers]
        if chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def put(self, body: bytes, target: str = SEND + "1", **signing: Any) -> bytes:
        """A transaction, signed as told."""
        content = signing.pop("content", body)
        return self.raw("PUT", target, self.header("PUT", target, content, **signing), body=body)

    def get(self, target: str = PROFILE, **signing: Any) -> bytes:
        """A query, signed as told."""
        return self.raw("GET", target, self.header("GET", target, **signing))

    async def ask(self, request: bytes) -> Reply:
        """Over a connection of its own."""
        async with await Caller.to(self.address, True, self.client) as caller:
            return await caller.ask(request)

    async def stored(self) -> tuple[str, ...]:
        """Whose transactions are remembered."""
        return tuple(await self.federation._open().store.inbox.origins())


def _files(name: str) -> tuple[Path, Path]:
    chain, key = (certs.scratch() / each for each in certs.good(name).files)
    key.chmod(0o600)
    return chain, key


@asynccontextmanager
async def serving(app: Asgi, host: str = "127.0.0.1") -> AsyncIterator[Address]:
    """An application over TLS on a free port."""
    clock = SystemClock()
    tls = ServerTls(*_files(host), clock)
    listener = Listener(
        app, NothingReady(), host=host, port=0, clock=clock, limits=Limits(), tls=tls
    )
    try:
        yield await listener.start()
    finally:
        await listener.stop()


def _config(port: int, peer: str, folder: Path, certificate: bool) -> Config:
    files = _files("localhost")
    rule = Peer(
        names=(peer,),
        client_certificate=ClientCertificate.REQUIRE,
        certificate_sha256=(certs.good("127.0.0.1").fingerprint,),
    )
    asks = ClientCertificates.ASK if certificate else ClientCertificates.OFF
    return Config(
        server_name=f"localhost:{port}",
        data=str(folder),
        listen=Listen(
            port=port,
            certificate=str(files[0]),
            private_key=str(files[1]),
            client_certificates=asks,
        ),
        outgoing=Outgoing(ca_file=certs.authority().file, allow_private=True),
        peers=(rule,) if certificate else (),
    )


@asynccontextmanager
async def stage(
    folder: Path, *, certificate: bool = False, limits: Limits = LIMITS, store: Path | None = None
) -> AsyncIterator[Stage]:
    """``certificate``: the peer must show its client certificate."""
    found: list[Stage] = []

    async def keys(scope: Any, receive: Any, send: Any) -> None:
        await found[0].keys(scope, receive, send)

    async with serving(keys) as home:
        peer = f"127.0.0.1:{home.port}"
        config = _config(free_port(), peer, folder, certificate)
        federation = Federation(config=config, serving=True, limits=limits, store=store)
        async with federation, federation.listening() as address:
            made = Stage(federation, address, peer)
            found.append(made)
            made.register()
            yield made
