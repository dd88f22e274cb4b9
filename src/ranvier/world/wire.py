"""Connections in memory: hosts at addresses, with real certificates and faults by name.

A :class:`Host` stands at one IP address and port. It shows a certificate,
chosen by SNI, and hands each request to its handler. What it does wrong has a
name (:class:`~ranvier.world.faults.Fault`). Everything is kept: every attempt
to connect in :attr:`WorldWire.attempts`, every request in
:attr:`WorldWire.requests`, so that "not one byte was sent" is one assertion.

Addresses are judged by the same policy and certificates by the same rules as in
life; the errors have the same codes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import msgspec

from ranvier.errors import (
    AddressRefused,
    ConnectFault,
    ConnectionLost,
    RanvierError,
    TimedOut,
    TlsFault,
)
from ranvier.limits import ExchangeLimits, Limits
from ranvier.plugs import HttpRequest, HttpResponse, LinkFacts
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.certificates import Certificates
from ranvier.protocol.names import TlsName
from ranvier.protocol.trust import Trust
from ranvier.world.clock import VirtualClock
from ranvier.world.faults import HTTP_FAULTS, Fault
from ranvier.world.judge import judge

Handler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse | Fault]]
"""What a host serves; it may return a fault instead of an answer."""


async def nothing_here(request: HttpRequest) -> HttpResponse:
    """The handler of a host that was given none: 404 for everything."""
    return HttpResponse(
        status=404,
        headers=(("content-type", "application/json"),),
        body=b'{"errcode":"M_UNRECOGNIZED","error":"nothing is served here"}',
    )


class Attempt(msgspec.Struct):
    """One try to connect; ``outcome`` is ``ok`` or the error's code, empty while it lasts."""

    address: Address
    name: TlsName
    sni: str | None
    trusted: str
    """``look``, ``web-pki``, ``pinned`` or ``first-contact``."""
    at: float
    outcome: str = ""
    requests: int = 0
    """How many requests reached the host over this connection."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it arrived, and over which connection."""

    request: HttpRequest
    address: Address
    sni: str | None
    at: float

    @property
    def raw(self) -> bytes:
        """The bytes on the wire: target and header values exactly as given."""
        return raw_request(self.request)


class Host(msgspec.Struct, kw_only=True):
    """One address and port of the world; every member may be changed while it runs."""

    address: Address
    certificates: dict[str | None, Certificates] = {}
    """By SNI in lower case; ``None`` is shown to all other names and to none."""
    serves: Handler = nothing_here
    fault: Fault | None = None
    connect_seconds: float = 0.0
    handshake_seconds: float = 0.0
    answer_seconds: float = 0.0
    loss: float = 0.0
    """The chance in [0, 1] that one connection's first packet is lost (sent again after 1 s,
    2 s, 4 s ...)."""

    def shows(self, sni: str | None) -> Certificates:
        """The chain for one SNI."""
        found = self.certificates.get(sni.lower() if sni else None)
        return found or self.certificates.get(None, Certificates())


class WorldWire:
    """The Wire plug in memory.

    ``roots`` are the known authorities as DER. ``refused`` keeps the addresses
    that policy forbade: no attempt was made there.
    """

    def __init__(
        self,
        clock: VirtualClock,
        limits: Limits,
        *,
        policy: AddressPolicy,
        roots: tuple[bytes, ...],
    ) -> None:
        self.hosts: dict[Address, Host] = {}
        self.dark: set[str] = set()
        self.attempts: list[Attempt] = []
        self.requests: list[Received] = []
        self.refused: list[Address] = []
        self.policy = policy
        self.roots = roots
        self._clock = clock
        self._limits = limits

    # The plug

    async def look(self, to: Address, name: TlsName) -> Certificates:
        """Handshake without trust, take the chain, close.

        Raises: AddressRefused, ConnectFault, TlsFault, TimedOut.
        """
        async with self._attempt(to, name, "look") as attempt:
            link = await self._connect(to, attempt)
        return link.facts.certificates

    async def dial(self, to: Address, name: TlsName, trust: Trust) -> WorldLink:
        """Connect and handshake; the certificate has been judged when this returns.

        Raises: AddressRefused, ConnectFault, TlsFault (with the chain), TimedOut.
        """
        async with self._attempt(to, name, str(trust.__struct_config__.tag)) as attempt:
            link = await self._connect(to, attempt)
            judge(link.facts.certificates, name, trust, now=self._clock.now(), roots=self.roots)
        return link

    @asynccontextmanager
    async def _attempt(self, to: Address, name: TlsName, trusted: str) -> AsyncIterator[Attempt]:
        try:
            self.policy.insist(to)
        except AddressRefused:
            self.refused.append(to)
            raise
        sni = None if name.is_ip else name.text
        attempt = Attempt(to, name, sni, trusted, self._clock.tick())
        self.attempts.append(attempt)
        try:
            yield attempt
            attempt.outcome = "ok"
        except BaseException as error:
            attempt.outcome = error.code if isinstance(error, RanvierError) else "cancelled"
            raise

    async def _connect(self, to: Address, attempt: Attempt) -> WorldLink:
        began, stage = self._clock.tick(), "connect"
        try:
            async with self._clock.timeout(self._limits.connect_seconds):
                host = await self._reach(to)
                connected, stage = self._clock.tick(), "tls"
                certificates = await self._greet(host, attempt.sni)
        except TimeoutError:
            raise _too_late(stage, to, self._limits.connect_seconds) from None
        facts = LinkFacts(
            address=to,
            certificates=certificates,
            tls_version="TLSv1.3",
            cipher="TLS_AES_256_GCM_SHA384",
            tcp_seconds=connected - began,
            tls_seconds=self._clock.tick() - connected,
        )
        return WorldLink(self, host, facts, attempt)

    async def _reach(self, to: Address) -> Host:
        """TCP."""
        host = self.hosts.get(to)
        if to.ip in self.dark or (host and host.fault is Fault.BLACK_HOLE):
            await self._clock.sleep(float("inf"))
        if host is None or host.fault is Fault.REFUSE:
            raise ConnectFault("connect-refused", f"{to} refused the connection")
        if host.fault is Fault.UNREACHABLE:
            raise ConnectFault("connect-unreachable", f"there is no way to {to}")
        await self._lose(host)
        if host.connect_seconds:
            await self._clock.sleep(host.connect_seconds)
        return host

    async def _lose(self, host: Host) -> None:
        again = 1.0
        while host.loss and self._clock.chance() < host.loss:
            await self._clock.sleep(again)
            again *= 2

    async def _greet(self, host: Host, sni: str | None) -> Certificates:
        """TLS."""
        if host.fault is Fault.RESET:
            raise TlsFault("tls-closed", f"{host.address} broke off the handshake")
        if host.fault is Fault.TLS_SILENT:
            await self._clock.sleep(float("inf"))
        if host.handshake_seconds:
            await self._clock.sleep(host.handshake_seconds)
        if host.fault is Fault.TLS_GARBAGE:
            raise TlsFault("tls-protocol", f"{host.address} does not speak TLS")
        shown = host.shows(sni)
        if host.fault is Fault.TLS_ALERT or not shown.chain:
            raise TlsFault("tls-protocol", f"{host.address} ended the handshake for {sni!r}")
        return shown


class WorldLink:
    """One connection of the world, reusable until something goes wrong."""

    def __init__(self, wire: WorldWire, host: Host, facts: LinkFacts, attempt: Attempt) -> None:
        self._wire = wire
        self._host = host
        self._facts = facts
        self._attempt = attempt
        self._usable = True

    @property
    def facts(self) -> LinkFacts:
        """What is known of this connection."""
        return self._facts

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow."""
        return self._usable

    async def exchange(self, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
        """Send one request and read its answer whole.

        Raises: ConnectionLost, TimedOut.
        """
        if not self._usable:
            raise ConnectionLost("connection-closed", "this connection is closed")
        self._usable = False
        clock = self._wire._clock
        self._attempt.requests += 1
        received = Received(
            request=request, address=self._facts.address, sni=self._attempt.sni, at=clock.tick()
        )
        self._wire.requests.append(received)
        try:
            async with clock.timeout(limits.seconds):
                response = await self._answer(request, limits)
        except TimeoutError:
            raise TimedOut(
                "exchange-timeout", f"no whole answer within {limits.seconds:g} s"
            ) from None
        self._usable = not _closes(response)
        return response

    async def close(self) -> None:
        """Close; never raises."""
        self._usable = False

    async def _answer(self, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
        clock = self._wire._clock
        if self._host.answer_seconds:
            await clock.sleep(self._host.answer_seconds)
        answer: HttpResponse | Fault = (
            self._host.fault
            if self._host.fault in HTTP_FAULTS
            else await self._host.serves(request)
        )
        if isinstance(answer, Fault):
            if answer in (Fault.HANGS, Fault.SLOW):
                await clock.sleep(float("inf"))
            raise _broken(answer)
        return _within(answer, limits)


def raw_request(request: HttpRequest) -> bytes:
    """The request as HTTP/1.1 bytes."""
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.host}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


def _too_late(stage: str, to: Address, seconds: float) -> TimedOut:
    if stage == "connect":
        return TimedOut("connect-timeout", f"{to} did not accept within {seconds:g} s")
    return TimedOut("tls-timeout", f"{to} did not finish the handshake within {seconds:g} s")


def _broken(fault: Fault) -> ConnectionLost:
    """The error that reading such an answer ends in."""
    if fault in (Fault.CLOSES, Fault.HALF, Fault.HALF_HEAD, Fault.RESET):
        return ConnectionLost("connection-lost", "the connection ended within the answer")
    if fault in (Fault.ENDLESS, Fault.TOO_LARGE):
        return ConnectionLost("body-too-large", "the answer's body is larger than we take")
    if fault is Fault.ENDLESS_HEAD:
        return ConnectionLost("head-too-large", "the answer's head is larger than we take")
    return ConnectionLost("not-http", "the answer is not HTTP")


def _within(response: HttpResponse, limits: ExchangeLimits) -> HttpResponse:
    """The response with the header names as the plug gives them, if it is within the limits."""
    headers = tuple((name.lower(), value) for name, value in response.headers)
    size = sum(len(name) + len(value) + 4 for name, value in headers)
    if size > limits.head_bytes or len(headers) > limits.head_count:
        raise _broken(Fault.ENDLESS_HEAD)
    if len(response.body) > limits.body_bytes:
        raise _broken(Fault.TOO_LARGE)
    return HttpResponse(status=response.status, headers=headers, body=response.body)


def _closes(response: HttpResponse) -> bool:
    return (response.header("connection") or "").lower() == "close"
