"""Connections in memory: hosts at addresses, with real certificates and faults by name.

A :class:`~ranvier.world.host.Host` stands at one IP address and port. It shows a
certificate, chosen by SNI, and hands each request to its handler. What it does
wrong has a name (:class:`~ranvier.world.faults.Fault`). Everything is kept: every attempt
to connect in :attr:`WorldWire.attempts`, every request in
:attr:`WorldWire.requests`, so that "not one byte was sent" is one assertion.

Addresses are judged by the same policy and certificates by the same rules as in
life; the errors have the same codes.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from ranvier.errors import AddressRefused, ConnectFault, RanvierError, TimedOut, TlsFault
from ranvier.limits import Limits
from ranvier.plugs import HttpRequest, LinkFacts
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.certificates import CLAUSE, Certificates
from ranvier.protocol.names import TlsName
from ranvier.protocol.text import shown
from ranvier.protocol.trust import FirstContact, Trust
from ranvier.world.certs import Credential
from ranvier.world.clock import VirtualClock
from ranvier.world.faults import Fault
from ranvier.world.host import Host
from ranvier.world.judge import judge
from ranvier.world.link import WorldLink


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
    presented: bytes = b""
    """Our client certificate (DER), if it was asked for and given."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it arrived, and over which connection."""

    request: HttpRequest
    address: Address
    sni: str | None
    at: float
    raw: bytes
    """Head and body, byte for byte."""
    presented: bytes = b""
    """The client certificate (DER) of the connection."""


class WorldWire:
    """The Wire plug in memory.

    ``roots`` are the known authorities as DER. ``refused`` keeps the addresses
    that policy forbade: no attempt was made there. ``client_certificate`` is what
    we present to hosts that ask for one, if the caller says so; it may be changed.
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
        self.client_certificate: Credential | None = None
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

    async def dial(
        self, to: Address, name: TlsName, trust: Trust, *, present: bool = False
    ) -> WorldLink:
        """Connect and handshake; the certificate has been judged when this returns.

        Raises: AddressRefused, ConnectFault, TlsFault (with the chain), TimedOut.
        """
        present = present and not isinstance(trust, FirstContact)
        offered = self.client_certificate if present else None
        async with self._attempt(to, name, str(trust.__struct_config__.tag)) as attempt:
            link = await self._connect(to, attempt, offered)
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

    async def _connect(
        self, to: Address, attempt: Attempt, offered: Credential | None = None
    ) -> WorldLink:
        began, connected = self._clock.tick(), None
        try:
            async with self._clock.timeout(self._limits.connect_seconds):
                host = await self._reach(to)
                connected = self._clock.tick()
                certificates = await self._greet(host, attempt)
        except TimeoutError:
            raise _too_late(to, self._limits.connect_seconds, connected is not None) from None
        facts = LinkFacts(
            address=to,
            certificates=certificates,
            tls_version="TLSv1.3",
            cipher="TLS_AES_256_GCM_SHA384",
            tcp_seconds=connected - began,
            tls_seconds=self._clock.tick() - connected,
            offered=offered is not None,
        )
        if offered is not None and host.asks_client:
            attempt.presented = offered.leaf
        return WorldLink(self._clock, host, facts, partial(self._receive, attempt))

    async def _reach(self, to: Address) -> Host:
        """TCP."""
        host = self.hosts.get(usual(to))
        if usual(to).ip in self.dark or (host and host.fault is Fault.BLACK_HOLE):
            await self._clock.sleep(math.inf)
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

    async def _greet(self, host: Host, attempt: Attempt) -> Certificates:
        """TLS."""
        _insist_usable(attempt.name)
        if host.fault is Fault.RESET:
            raise TlsFault("tls-closed", f"{host.address} went away in the handshake")
        if host.fault is Fault.TLS_SILENT:
            await self._clock.sleep(math.inf)
        if host.handshake_seconds:
            await self._clock.sleep(host.handshake_seconds)
        if host.fault is Fault.TLS_GARBAGE:
            raise TlsFault("tls-not-tls", f"{host.address} does not speak TLS", clause=CLAUSE)
        shown = host.shows(attempt.sni)
        if host.fault is Fault.TLS_ALERT or not shown.chain:
            message = f"{host.address} ended the handshake for {attempt.sni!r}"
            raise TlsFault("tls-alert", message, clause=CLAUSE)
        return shown

    def _receive(self, attempt: Attempt, request: HttpRequest, raw: bytes) -> None:
        attempt.requests += 1
        self.requests.append(
            Received(
                request=request,
                address=attempt.address,
                sni=attempt.sni,
                at=self._clock.tick(),
                raw=raw,
                presented=attempt.presented,
            )
        )


def usual(address: Address) -> Address:
    """The address as hosts are kept: short form, and IPv4-mapped IPv6 as IPv4, as sockets do.

    Raises: ValueError if it is no IP address.
    """
    ip = ipaddress.ip_address(address.ip)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return Address(str(ip), address.port)


def _too_late(to: Address, seconds: float, connected: bool) -> TimedOut:
    if connected:
        message = f"{to} did not finish the handshake in time ({seconds:g} s)"
        return TimedOut("tls-timeout", message)
    return TimedOut(
        "connect-timeout", f"{to} did not accept the connection in time ({seconds:g} s)"
    )


def _insist_usable(name: TlsName) -> None:
    """SNI is a host name as TLS writes it. Raises: TlsFault."""
    try:
        usable = name.text != "" and not name.text.startswith(".") and "\0" not in name.text
        name.text.encode("idna")
    except UnicodeError:
        usable = False
    if not usable:
        raise TlsFault("tls-name-unusable", f"{shown(name.text, 300)} cannot be asked for by SNI")
