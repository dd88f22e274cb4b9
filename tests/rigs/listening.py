"""Our own listener under test, and callers that say exactly what they are told to.

``async with listening() as house`` serves a :class:`FederationApp` on a free
loopback port. ``house.clock`` runs ahead when told (``house.later(seconds)`` also
sweeps), so that no test waits for a deadline. :class:`Caller` is a raw connection:
what it sends is byte for byte what is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from ranvier.faces.asgi import FederationApp
from ranvier.limits import Limits, Ms
from ranvier.net.clientcerts import AskingServerTls
from ranvier.net.clock import SystemClock
from ranvier.net.listen import Asgi, Listener
from ranvier.net.proxies import TrustedProxy
from ranvier.net.tls_server import ServerTls
from ranvier.protocol.addresses import Address
from ranvier.protocol.names import ServerName
from ranvier.protocol.signing import generate_signing_key
from ranvier.services.identity import Identity
from tests.rigs import certs

NAME = ServerName("us.test")
DEFAULTS = Limits()
PATIENCE = 10.0
"""Seconds after which a test has failed rather than waited."""


class ShiftedClock(SystemClock):
    """The system's clock, some seconds ahead."""

    ahead = 0.0

    def now(self) -> Ms:
        return Ms(super().now() + int(self.ahead * 1000))

    def tick(self) -> float:
        return super().tick() + self.ahead


@dataclass
class Reply:
    """An answer as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Caller:
    """One raw connection to the listener."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(
        cls, address: Address, tls: bool = False, context: ssl.SSLContext | None = None
    ) -> Self:
        if tls and context is None:
            context = ssl._create_unverified_context()
        reader, writer = await asyncio.open_connection(address.ip, address.port, ssl=context)
        return cls(reader, writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    @property
    def leaf(self) -> bytes:
        """The certificate that this connection was shown."""
        shown: bytes = self.writer.get_extra_info("ssl_object").getpeercert(True)
        return shown

    def reset(self) -> None:
        """End by a reset, not by a close."""
        ended = self.writer.get_extra_info("socket")
        ended.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, head_only: bool = False) -> Reply:
        """Read one answer whole."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            pairs = [line.split(": ", 1) for line in lines]
            headers = [(key.lower(), value) for key, value in pairs]
            size = 0 if head_only else int(dict(headers)["content-length"])
            return Reply(int(first.split(" ")[1]), headers, await self.reader.readexactly(size))

    async def ask(self, data: bytes) -> Reply:
        await self.send(data)
        return await self.reply()

    async def end(self) -> bytes:
        """What still comes until the other side closes; a reset is an end too."""
        got = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while chunk := await self.reader.read(65_536):
                    got += chunk
        return got


def get(target: str, *lines: str) -> bytes:
    """A GET as bytes."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: us.test", *lines, "", ""]).encode()


@dataclass
class House:
    """A listener under test."""

    listener: Listener
    address: Address
    clock: ShiftedClock
    app: FederationApp
    tls: bool
    seen: list[Any] = field(default_factory=list)

    async def call(self, context: ssl.SSLContext | None = None) -> Caller:
        return await Caller.to(self.address, self.tls, context)

    async def once(self, data: bytes, context: ssl.SSLContext | None = None) -> Reply:
        """One request over a connection of its own."""
        async with await self.call(context) as caller:
            return await caller.ask(data)

    async def later(self, seconds: float) -> None:
        """Let time pass, once everything sent so far has arrived."""
        await asyncio.sleep(0.05)
        self.clock.ahead += seconds
        self.listener.hall.sweep()
        await asyncio.sleep(0.01)

    @property
    def refused(self) -> dict[str, int]:
        return dict(self.listener.hall.refused)


def identity(clock: SystemClock, name: ServerName = NAME) -> Identity:
    return Identity(name, [generate_signing_key(b"1" * 32, "a_1")], clock=clock)


def limits(**changes: Any) -> Limits:
    """The default limits with some changes."""
    return msgspec.structs.replace(Limits(), **changes)


@contextlib.asynccontextmanager
async def listening(
    app: Asgi | None = None,
    *,
    tls: bool = False,
    asking: bool = False,
    budget: Limits = DEFAULTS,
    files: certs.Identity | None = None,
    proxies: tuple[TrustedProxy, ...] = (),
) -> AsyncIterator[House]:
    """Serve ``app`` (default: the federation app) on a free loopback port.

    ``asking``: over TLS, and clients are asked for a certificate.
    """
    tls = tls or asking
    clock = ShiftedClock()
    desk = FederationApp(identity(clock))
    pair = (files or certs.good("us.test")).files
    listener = Listener(
        app or desk,
        desk,
        host="127.0.0.1",
        port=0,
        clock=clock,
        limits=budget,
        tls=_server_tls(pair, clock, asking) if tls else None,
        proxies=proxies,
        grace_seconds=1.0,
    )
    address = await listener.start()
    try:
        yield House(listener, address, clock, desk, tls)
    finally:
        await listener.stop()


def _server_tls(pair: tuple[str, str], clock: SystemClock, asking: bool) -> ServerTls:
    paths = [certs.scratch() / each for each in pair]
    paths[1].chmod(0o600)
    return (AskingServerTls if asking else ServerTls)(paths[0], paths[1], clock)
