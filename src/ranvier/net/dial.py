"""Connections that have been judged: the one place that makes TCP connections to strangers.

Order within :meth:`NetWire.dial`, none of which can be left out:

1. the address policy, on the address that the socket is given (``[ranvier:address-policy]``);
2. TCP, through the proxy if there is one;
3. the handshake, in which OpenSSL judges chain, dates and name (WebPki);
4. or the comparison of the leaf with the accepted ones (Pinned);
5. only then is there a :class:`~ranvier.plugs.Link`, so nothing can be sent earlier.

When OpenSSL refuses a certificate, Python does not say which one it was. So the
evidence is taken by a second connection, a :meth:`NetWire.look`, within the same
time limit; nothing is sent there either. Behind a balancer it may be another
certificate than the refused one; OpenSSL's words in the message are about the first.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from ranvier.errors import NetworkFault, TimedOut, TlsFault
from ranvier.limits import Limits
from ranvier.net.contexts import Contexts
from ranvier.net.http import HttpLink
from ranvier.net.judge import certificate_fault, handshake_fault
from ranvier.net.stream import TlsStream, connect
from ranvier.net.tunnel import connect_through
from ranvier.plugs import Clock, LinkFacts
from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.certificates import Certificates
from ranvier.protocol.names import TlsName
from ranvier.protocol.proxy import CLAUSE as PROXY
from ranvier.protocol.proxy import Proxy
from ranvier.protocol.text import shown
from ranvier.protocol.trust import FirstContact, Trust, insist_leaf


class _Progress:
    """How far a connection has come, for the words of a time-out."""

    connected = False


class NetWire:
    """The :class:`~ranvier.plugs.Wire` of production and diagnosis.

    ``ca_file`` (PEM) replaces the system's authorities; ``client_certificate`` are the
    PEM files of the certificate that we may present, leaf first, and of its key. They
    are read when they are first needed; :meth:`prepare` reads them at once. With a
    ``proxy`` every connection goes through it.
    """

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        policy: AddressPolicy,
        ca_file: str | None = None,
        *,
        client_certificate: tuple[str, str] | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._policy = policy
        self._proxy = proxy
        self._contexts = Contexts(ca_file or None, client_certificate)

    def prepare(self) -> None:
        """Read the authorities and our certificate now. Raises: BadConfiguration."""
        self._contexts.prepare()

    async def look(self, to: Address, name: TlsName) -> Certificates:
        """Handshake without trust, take the chain, close.

        Raises: AddressRefused, ConnectFault, TlsFault, TimedOut.
        """
        self._policy.insist(to)
        return await self._look(to, name, self._limits.connect_seconds)

    async def _look(self, to: Address, name: TlsName, seconds: float) -> Certificates:
        async with self._in_time(to, seconds) as progress:
            stream, facts = await self._secure(to, name, self._contexts.of(None), progress)
        stream.close()
        return facts.certificates

    async def dial(
        self, to: Address, name: TlsName, trust: Trust, *, present: bool = False
    ) -> HttpLink:
        """Connect, shake hands, judge. A first contact never sees our certificate (D1).

        Raises: AddressRefused, ConnectFault, TlsFault (with the chain), TimedOut,
        BadConfiguration (our CA file, our client certificate).
        """
        self._policy.insist(to)
        present = present and not isinstance(trust, FirstContact)
        context = self._contexts.of(trust, present=present)
        ends = self._clock.tick() + self._limits.connect_seconds
        try:
            async with self._in_time(to, self._limits.connect_seconds) as progress:
                stream, facts = await self._secure(to, name, context, progress)
        except ssl.SSLCertVerificationError as error:
            chain = await self._evidence(to, name, ends - self._clock.tick())
            raise certificate_fault(error, name, chain) from error
        try:
            insist_leaf(facts.certificates, trust)
        except TlsFault:
            stream.close()
            raise
        if self._contexts.offers(present):
            facts = msgspec.structs.replace(facts, offered=True)
        return HttpLink(stream, facts, self._clock)

    async def _evidence(self, to: Address, name: TlsName, seconds: float) -> tuple[bytes, ...]:
        try:
            return (await self._look(to, name, seconds)).chain
        except NetworkFault:
            return ()

    async def _secure(
        self, to: Address, name: TlsName, context: ssl.SSLContext, progress: _Progress
    ) -> tuple[TlsStream, LinkFacts]:
        began = self._clock.tick()
        sock = await self._connect(to)
        connected, progress.connected = self._clock.tick(), True
        stream = _tls_over(sock, context, name)
        try:
            await stream.handshake(self._limits.handshake_bytes)
        except ssl.SSLCertVerificationError:
            stream.close()
            raise
        except ssl.SSLError as error:
            stream.close()
            raise handshake_fault(error) from error
        except BaseException:
            stream.close()
            raise
        return stream, LinkFacts(
            address=to,
            certificates=Certificates(stream.chain()),
            tls_version=stream.version,
            cipher=stream.cipher,
            tcp_seconds=connected - began,
            tls_seconds=self._clock.tick() - connected,
            via=str(self._proxy or ""),
        )

    async def _connect(self, to: Address) -> socket.socket:
        if self._proxy is None:
            return await connect(to)
        return await connect_through(self._proxy, to, self._limits.proxy_head_bytes)

    @asynccontextmanager
    async def _in_time(self, to: Address, seconds: float) -> AsyncIterator[_Progress]:
        progress = _Progress()
        try:
            async with self._clock.timeout(max(seconds, 0.0)):
                yield progress
        except TimeoutError as error:
            if progress.connected:
                message = f"{to} did not finish the handshake in time ({seconds:g} s)"
                raise TimedOut("tls-timeout", message) from error
            if self._proxy is not None:
                message = f"the proxy {self._proxy} made no connection to {to} in {seconds:g} s"
                raise TimedOut("proxy-timeout", message, clause=PROXY) from error
            message = f"{to} did not accept the connection in time ({seconds:g} s)"
            raise TimedOut("connect-timeout", message) from error


def _tls_over(sock: socket.socket, context: ssl.SSLContext, name: TlsName) -> TlsStream:
    try:
        return TlsStream(sock, context, name.text)
    except (TypeError, ValueError) as error:  # a NUL byte; UnicodeError
        sock.close()
        message = f"{shown(name.text, 300)} cannot be asked for by SNI: {error}"
        raise TlsFault("tls-name-unusable", message) from error
