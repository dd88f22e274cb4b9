"""One line of the discovery matrix, as data: what the internet is like, and what must come of it.

A :class:`Scenario` has a zone, listeners, and an end. It is played in a private
network namespace, where DNS answers on port 53, well-known files are on port 443,
and the documentation networks (:data:`INTERNET`) are the internet. What a scenario
does not mention must not happen: a :func:`trap` is a listener in good order that
nobody may connect to, ``asks`` is the whole of what DNS is asked, and ``file`` says
what became of the well-known file (``None``: it was not fetched).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from ranvier.protocol.addresses import Address, AddressPolicy
from ranvier.protocol.routes import Mode
from tests.rigs.certs import Kind
from tests.rigs.dns import Entry, Name, Trouble

INTERNET = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
"""The documentation networks play the internet; to everything else the policy is as shipped."""

# Who lives where. example.org is the server name, unless a scenario says otherwise.
APEX, APEX6 = "192.0.2.1", "2001:db8::1"  # example.org
HS, HS6 = "198.51.100.1", "2001:db8:1::1"  # hs.example.org, which well-known files name
FED, FED6 = "203.0.113.1", "2001:db8:2::1"  # fed.example.net, which SRV records name
FED2 = "203.0.113.2"  # fed2.example.net
OLD = "203.0.113.3"  # old.example.net, which deprecated SRV records name

FILE = "/.well-known/matrix/server"
SRV_FED, SRV_OLD = "_matrix-fed._tcp.", "_matrix._tcp."


class Policy(StrEnum):
    """Which addresses may be connected to."""

    INTERNET = "internet"
    DEFAULT = "default"
    """As shipped, without any opening."""
    PRIVATE = "private"
    """As an operator's ``allow_private`` has it."""
    OWN = "own"
    """As shipped, while we listen on 127.0.0.1:8448 ourselves (D28)."""
    OPEN = "open"
    """Everything: shows that a trap would have been reached."""

    def made(self) -> AddressPolicy:
        match self:
            case Policy.INTERNET:
                return AddressPolicy(networks=INTERNET)
            case Policy.DEFAULT:
                return AddressPolicy()
            case Policy.PRIVATE:
                return AddressPolicy(allow_private=True)
            case Policy.OWN:
                return AddressPolicy(allowed=frozenset({Address("127.0.0.1", 8448)}))
            case _:
                return AddressPolicy(networks=("0.0.0.0/0", "::/0"))


class Mood(StrEnum):
    """How a listener behaves before any HTTP."""

    SERVES = "serves"
    DEAF = "deaf"
    """Its queue is full: whoever connects hears nothing, as from a black hole."""
    HANGS = "hangs"
    """Takes the connection and says nothing."""
    RESETS = "resets"
    """Takes the connection and resets it."""
    PLAIN = "plain"
    """Speaks HTTP without TLS."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a web server answers. ``raw`` is sent instead of all the rest."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    slow_head: float = 0.0
    """Seconds before the answer."""
    slow_body: float = 0.0
    """Seconds between head and body."""
    endless: bool = False
    """Body without end, in chunks."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A TLS server at ``at`` whose certificate is of ``kind`` for ``names``."""

    at: str
    names: tuple[str, ...] = ()
    kind: Kind = Kind.GOOD
    mood: Mood = Mood.SERVES
    pages: Mapping[str, Page] = field(default_factory=dict)
    trap: bool = False


def at(ip: str, port: int) -> str:
    """An address as text."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def fed(where: str, *names: str, kind: Kind = Kind.GOOD, mood: Mood = Mood.SERVES) -> Listener:
    """A home server that answers its version."""
    return Listener(at=where, names=names, kind=kind, mood=mood)


def trap(where: str, *names: str) -> Listener:
    """A home server in good order that must not even be connected to."""
    return Listener(at=where, names=names or ("example.org",), trap=True)


def page(file: Any, status: int = 200, **headers: str) -> Page:
    """A JSON answer; bytes are sent as they are."""
    body = file if isinstance(file, bytes) else json.dumps(file).encode()
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return Page(status=status, body=body, headers={"Content-Type": "application/json", **given})


def moved(location: str, status: int = 302) -> Page:
    """A redirect."""
    return Page(status=status, headers={"Location": location})


def web(
    delegates: str | Page | Mapping[str, Page],
    *,
    host: str = "example.org",
    where: str = at(APEX, 443),
    kind: Kind = Kind.GOOD,
    mood: Mood = Mood.SERVES,
) -> Listener:
    """A web server whose well-known file names ``delegates``, or is that page."""
    if isinstance(delegates, str):
        delegates = page({"m.server": delegates})
    pages = {FILE: delegates} if isinstance(delegates, Page) else delegates
    return Listener(at=where, names=(host,), kind=kind, mood=mood, pages=pages)


def srv(target: str, port: int, *, priority: int = 10, weight: int = 5) -> Name:
    """One SRV record."""
    return Name(srv=[(priority, weight, port, target)])


def host(*ips: str, ttl: int = 300) -> Name:
    """A or AAAA for each address."""
    sixes = [_in_full(ip) for ip in ips if ":" in ip]
    return Name(a=[ip for ip in ips if ":" not in ip], aaaa=sixes, ttl=ttl)


def _in_full(ip: str) -> str:
    """All eight groups in hex: ``exploded`` is dotted for mapped addresses since Python 3.13."""
    digits = ipaddress.IPv6Address(ip).packed.hex()
    return ":".join(digits[at : at + 4] for at in range(0, 32, 4))


def alias(target: str) -> Name:
    """A CNAME."""
    return Name(cname=target)


def addresses(*names: str) -> frozenset[str]:
    """The questions for both families."""
    return frozenset(f"{kind} {name}" for name in names for kind in ("A", "AAAA"))


def services(*names: str) -> frozenset[str]:
    """The questions for both SRV names."""
    return frozenset(f"SRV {prefix}{name}" for name in names for prefix in (SRV_FED, SRV_OLD))


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """Answers that differ by the kind of question; the rest is NODATA."""

    a: Name | Trouble = field(default_factory=Name)
    aaaa: Name | Trouble = field(default_factory=Name)
    srv: Name | Trouble = field(default_factory=Name)

    def of(self, kind: str) -> Name | Trouble:
        found: Name | Trouble = getattr(self, kind.lower(), Name())
        return found


@dataclass(frozen=True, kw_only=True)
class Reached:
    """The version was fetched from ``at``: with exactly this ``Host`` and SNI.

    That the certificate was judged for the right name shows in that ``at`` has a
    certificate for this name alone, and in the trail, which must say ``sni`` or the IP.
    """

    at: str
    step: str
    host: str
    sni: str | None


@dataclass(frozen=True, kw_only=True)
class Nowhere:
    """No connection, by ``code``. ``faults`` are those of the attempts, in order."""

    code: str = "no-connection"
    faults: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Discovery ended without a route, by ``code``; nothing was dialled."""

    code: str


End: TypeAlias = Reached | Nowhere | Stopped


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """See the module's text."""

    id: str
    rows: tuple[str, ...]
    ends: End
    name: str = "example.org"
    mode: Mode = Mode.CURRENT
    zone: Mapping[str, Entry | Kinds] = field(default_factory=dict)
    listens: tuple[Listener, ...] = ()
    file: str | None = None
    """``""``: a valid file; else the code that it failed by; ``None``: not fetched."""
    gets: tuple[str, ...] | None = None
    """``host target`` of each request for the file, in order."""
    asks: frozenset[str] | None = None
    """All that DNS is asked (``A example.org``), besides ``_matrix`` ahead of need."""
    tries: tuple[str, ...] | None = None
    """``address code`` of each attempt to connect, ``ok`` for the one that held."""
    tells: tuple[str, ...] = ()
    """Steps (by what, or by code) that the trail must have."""
    notes: tuple[str, ...] = ()
    """Words that the discovery's notes must hold."""
    policy: Policy = Policy.INTERNET
    control: bool = False
    """Play it again with every address open: then a trap must be reached."""
    hasty: Mapping[str, float] = field(default_factory=dict)
    """Limits that are shorter than in production."""
    seconds: tuple[float, float] = (0.0, 10.0)
    """What the whole may take."""
    times: int = 1
    """How often it is done; the trail is the last one's, and no question is asked twice
    unless there is a ``pause`` (seconds) between."""
    pause: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How ``picks`` orders of one SRV answer spread over the first targets.

    ``connects`` real connections are made besides. Bounds are five standard
    deviations wide.
    """

    id: str
    rows: tuple[str, ...]
    weights: Mapping[str, int]
    """Address to weight."""
    picks: int
    connects: int
    mode: Mode = Mode.CURRENT
