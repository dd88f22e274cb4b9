"""The four plugs: Clock, Dns, Wire and Store. All time, chance and I/O come through them.

Services know only these protocols. ``ranvier.net`` and ``ranvier.store``
implement them for life, ``ranvier.world`` in memory with a virtual clock and
faults by name; one suite of contract tests holds them all to what is written
here, *including what each may raise*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from ranvier.deeds import Inbox, Outbox
from ranvier.limits import ExchangeLimits, Ms
from ranvier.protocol.addresses import Address
from ranvier.protocol.certificates import Certificates
from ranvier.protocol.names import TlsName
from ranvier.protocol.records import DnsAnswer, RecordKind
from ranvier.protocol.trust import Trust


class Clock(Protocol):
    """The only time and the only chance."""

    def now(self) -> Ms:
        """Wall clock, for validity."""

    def tick(self) -> float:
        """Monotonic seconds, for the trail and for lateness."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """Cancel the block after ``seconds`` and raise :class:`TimeoutError`."""

    def random_bytes(self, count: int) -> bytes:
        """Unpredictable bytes."""


class Dns(Protocol):
    """One question, one answer with its response code, aliases and lifetime."""

    async def ask(self, name: str, kind: RecordKind) -> DnsAnswer:
        """Follow aliases within ``Limits.alias_hops``.

        The hosts file and the ``localhost`` rule come first and say so in
        ``DnsAnswer.server``. A name whose last label is numeric is never asked.

        Raises: DnsFault (nobody answered, or nothing that could be read).
        """


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What goes out, byte for byte: the target and ``Host`` are never rewritten."""

    method: str
    target: str
    host: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; header names are lower-case, in order, repeats kept."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a header (name in lower case), if it was sent."""
        return next((value for key, value in self.headers if key == name), None)


class LinkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a connection: for the trail. Times are seconds."""

    address: Address
    certificates: Certificates
    tls_version: str = ""
    cipher: str = ""
    tcp_seconds: float = 0.0
    tls_seconds: float = 0.0
    via: str = ""
    """The proxy that it goes through, if any; its user and password are not in it."""
    offered: bool = False
    """Whether our client certificate was offered; who is not asked for it shows none."""


class Link(Protocol):
    """One authenticated connection, reusable for one exchange after another."""

    @property
    def facts(self) -> LinkFacts:
        """What is known of this connection."""

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow."""

    async def exchange(self, request: HttpRequest, limits: ExchangeLimits) -> HttpResponse:
        """Send one request and read its answer whole. Redirects are not followed.

        Raises: ConnectionLost, TimedOut.
        """

    async def close(self) -> None:
        """Close; never raises."""


class Wire(Protocol):
    """Connections. The address policy is applied here, on the final address."""

    async def look(self, to: Address, name: TlsName) -> Certificates:
        """Handshake without trust, take the chain, close. Nothing can be sent.

        Raises: AddressRefused, ConnectFault, TlsFault, TimedOut.
        """

    async def dial(
        self, to: Address, name: TlsName, trust: Trust, *, present: bool = False
    ) -> Link:
        """Connect and handshake; the certificate has been judged when this returns.

        SNI is ``name`` if it is a DNS name, absent if it is an IP address.
        ``present``: offer our client certificate, if we have one and are asked (SEED-20).

        Raises: AddressRefused, ConnectFault, TlsFault (with the chain), TimedOut.
        """


ORIGIN = "origin"
"""The source of a document that the server itself gave us."""


class StoredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A key document as it was received, and how we came by it (D2)."""

    server_name: str
    version: str
    """``v1`` or ``v2``."""
    body: bytes
    trust: str
    """``web-pki`` or ``published-certificate``."""
    source: str
    """:data:`ORIGIN`, or (later) the notary's name."""
    first_seen: Ms
    fetched_at: Ms
    valid_until: Ms
    """0 for version 1, which has no expiry."""
    keys: tuple[tuple[str, bytes], ...]
    """(key id, key bytes), old ones included: what the shelf prunes by (D9)."""


class KeyShelf(Protocol):
    """Documents, append only, pruned by rule: per (server, key id, bytes) the first,
    the latest direct and the one with the greatest ``valid_until`` stay (D9).

    Of one server ``Limits.documents_of_server_bytes`` stay: the oldest, so that
    nobody can flush a server's past away, and always the latest direct one."""

    async def load(self, server_names: Iterable[str]) -> Mapping[str, tuple[StoredDocument, ...]]:
        """All kept documents of the named servers, oldest first; each asked name is a key.

        Raises: StoreFault.
        """

    async def save(self, documents: Iterable[StoredDocument]) -> None:
        """One commit for all. Raises: StoreFault."""


class Notes(Protocol):
    """Small facts by kind and name: pins (kind ``pins``), and what handlers write by effects."""

    async def read(self, kind: str, name: str) -> bytes | None:
        """The note, or ``None`` if there is none. Raises: StoreFault."""

    async def write(self, kind: str, name: str, value: bytes) -> None:
        """One commit. Raises: StoreFault."""

    async def drop(self, kind: str, name: str) -> None:
        """Forget it, if it is there. Raises: StoreFault."""


class Store(Protocol):
    """What must outlive the process, as atomic deeds."""

    @property
    def keys(self) -> KeyShelf:
        """Other servers' key documents."""

    @property
    def notes(self) -> Notes:
        """Small facts."""

    @property
    def outbox(self) -> Outbox:
        """What waits to be sent."""

    @property
    def inbox(self) -> Inbox:
        """What was received."""

    async def close(self) -> None:
        """Flush and close; never raises."""
